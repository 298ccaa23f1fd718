#pragma once
// What a file of tensors holds: names and their tensors, in the order of the names' bytes. The map owns the tensors.

#include <functional>
#include <map>
#include <string>

#include "engine/tensor.h"

namespace strand {

using TensorMap = std::map<std::string, Tensor, std::less<>>;

}  // namespace strand
