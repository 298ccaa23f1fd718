#pragma once
// All of strand for a program that links it: Network loads a description with its weights and compiles Plans, Session
// runs one, LayerRegistry takes layers of the program's own. See each header for who owns what and which threads may
// call it.

#include "engine/error.h"
#include "engine/session.h"
#include "engine/tensor.h"
#include "graphs/io/tensor_map.h"
#include "graphs/network.h"
#include "layers/layer.h"
#include "layers/registry.h"

namespace strand {

using graphs::CompileOptions;
using graphs::LoadOptions;
using graphs::Network;
using layers::default_registry;
using layers::LayerRegistry;

}  // namespace strand
