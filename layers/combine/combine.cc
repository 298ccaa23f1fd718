#include "layers/combine/combine.h"

#include "layers/registry.h"

namespace strand::layers {
namespace {

constexpr const char* kBroadcast = "two or more, broadcast as NumPy does";
constexpr const char* kBroadcastTime = "pointwise; whole for an input that is the same at all times";

}  // namespace

void register_combine(LayerRegistry& registry) {
  registry.add({"Add",
                "the sum of its inputs",
                {},
                [](const Attributes&) { return std::make_unique<Elementwise>(Operation::kAdd); },
                kBroadcast,
                kBroadcastTime});
  registry.add({"Multiply",
                "the product of its inputs",
                {},
                [](const Attributes&) { return std::make_unique<Elementwise>(Operation::kMultiply); },
                kBroadcast,
                kBroadcastTime});
  registry.add({"Concat",
                "the inputs one after the other along an axis",
                {{"dim", kInteger, "the axis; a negative one counts from the end", int64_t{1}}},
                [](const Attributes& a) { return std::make_unique<Concat>(a.integer("dim")); },
                "two or more, equal but for dim",
                "pointwise; whole if dim is time"});
}

}  // namespace strand::layers
