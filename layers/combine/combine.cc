#include "layers/combine/combine.h"

#include "layers/registry.h"

namespace strand::layers {

void register_combine(LayerRegistry& registry) {
  registry.add({"Add", "the sum of two or more inputs, broadcast as NumPy does", {}, [](const Attributes&) {
                  return std::make_unique<Elementwise>(Operation::kAdd);
                }});
  registry.add({"Multiply", "the product of two or more inputs, broadcast as NumPy does", {}, [](const Attributes&) {
                  return std::make_unique<Elementwise>(Operation::kMultiply);
                }});
  registry.add({"Concat",
                "the inputs one after the other along an axis",
                {{"dim", kInteger, "the axis; a negative one counts from the end", int64_t{1}}},
                [](const Attributes& a) { return std::make_unique<Concat>(a.integer("dim")); }});
}

}  // namespace strand::layers
