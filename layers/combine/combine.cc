#include "layers/combine/combine.h"

#include "layers/registry.h"

namespace strand::layers {
namespace {

constexpr const char* kBroadcast = "two or more, broadcast as NumPy does; one beside a value";
constexpr const char* kBroadcastTime = "pointwise; whole for an input that is the same at all times";

}  // namespace

void register_combine(LayerRegistry& registry) {
  struct Row {
    const char* name;
    const char* summary;
    Operation operation;
  };
  for (const Row& row : {Row{"Add", "the sum of its inputs", Operation::kAdd},
                         Row{"Subtract", "the first input less the others", Operation::kSubtract},
                         Row{"Multiply", "the product of its inputs", Operation::kMultiply},
                         Row{"Divide", "the first input over the others, one after the other", Operation::kDivide}}) {
    registry.add({row.name,
                  row.summary,
                  {{"value", kNumber | kNull, "a number in place of the second input", Null{}}},
                  [operation = row.operation](const Attributes& a) {
                    if (a.is_null("value")) return std::make_unique<Elementwise>(operation);
                    return std::make_unique<Elementwise>(operation, a.number("value"));
                  },
                  kBroadcast,
                  kBroadcastTime});
  }
  registry.add({"Concat",
                "the inputs one after the other along an axis",
                {{"dim", kInteger, "the axis; a negative one counts from the end", int64_t{1}}},
                [](const Attributes& a) { return std::make_unique<Concat>(a.integer("dim")); },
                "two or more, equal but for dim",
                "pointwise; whole if dim is time"});
}

}  // namespace strand::layers
