#pragma once
// Blocks and repeats written out: from the layers of a description to a flat list with every reference resolved. Work
// and memory are bounded, whatever the description says. Private to the reader of descriptions.

#include <cstddef>
#include <vector>

#include "graphs/blocks.h"
#include "graphs/description.h"
#include "graphs/reader.h"

namespace strand::graphs {

constexpr size_t kMostLayers = 100'000;

// Appends to description.layers and .outputs; description.inputs are there already. `outputs` may be null: the last
// layer's first.
void expand(Reader& reader, const Blocks& blocks, const std::vector<LayerNode>& layers, const YamlNode* outputs,
            Description& description);

}  // namespace strand::graphs
