// The layers that compute nothing in inference: Identity and all kinds of dropout. Views, so nothing is copied.

#include "layers/epilogue.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

class Identity final : public Layer {
 public:
  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override { return {inputs[0]}; }
  bool is_view() const override { return true; }
  std::vector<Implementation> implementations(const PrepareArgs&) const override { return {}; }
  ErrorBound error_bound(const PrepareArgs&) const override { return exact(); }
  std::optional<Epilogue> as_epilogue(int, std::span<const TensorType>) const override { return Epilogue{}; }
};

std::unique_ptr<Layer> make_dropout(const Attributes& attributes) {
  const double p = attributes.number("p");
  if (!(p >= 0 && p <= 1)) {
    throw Error(ErrorCategory::kSchema, "p is " + to_string(attributes.value("p")) + ", expected 0 to 1");
  }
  return std::make_unique<Identity>();
}

}  // namespace

void register_identity(LayerRegistry& registry) {
  registry.add({"Identity",
                "the input itself",
                {},
                [](const Attributes&) { return std::make_unique<Identity>(); },
                "any; a view",
                "pointwise",
                {}});
  for (const char* name : {"Dropout", "Dropout1d", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout"}) {
    registry.add(
        {name,
         "the input itself: of training only",
         {{"p", kNumber, "of training; has no effect here", 0.5}, {"inplace", kBoolean, "has no effect here", false}},
         make_dropout,
         "any; a view",
         "pointwise",
         {}});
  }
}

}  // namespace strand::layers
