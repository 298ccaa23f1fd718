#include "layers/epilogue_cpu.h"

#include "layers/function_row_cpu.h"

namespace strand::layers {
namespace {

// A loop of its own: joined with the one before it, a product and a sum might be rounded once.
void add_row(const float* residual, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] += residual[i];
}

}  // namespace

void gate_row(const Epilogue& epilogue, const float* a, const float* b, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i += Lanes::kCount) {
    const int64_t lanes = std::min<int64_t>(Lanes::kCount, count - i);
    const Lanes activation = half_function(epilogue.activation, Lanes::load(a + i, lanes));
    (activation * half_function(epilogue.gate, Lanes::load(b + i, lanes))).store(y + i, lanes);
  }
}

void finish_row(const Epilogue& epilogue, const double (&parameters)[3], const float* residual, float* y,
                int64_t count) {
  if (epilogue.residual == Epilogue::Residual::kBefore) add_row(residual, y, count);
  with_function(epilogue.function, parameters, [&](const auto& function) { apply_in_place(function, y, count); });
  if (epilogue.residual == Epilogue::Residual::kAfter) add_row(residual, y, count);
  if (epilogue.scale == 1) return;
  const auto scale = static_cast<float>(epilogue.scale);
  for (int64_t i = 0; i < count; ++i) y[i] *= scale;
}

void finish_rows(const Epilogue& epilogue, const float* coefficients, int64_t channels, RowSpan<const float> residual,
                 RowSpan<float> y, int64_t rows, int64_t count) {
  const bool together = y.stride == count && (residual.data == nullptr || residual.stride == count);
  if (together && coefficients == nullptr) {
    finish_row(epilogue, epilogue.parameters, residual.data, y.data, rows * count);
    return;
  }
  for (int64_t row = 0; row < rows; ++row) {
    double parameters[3] = {epilogue.parameters[0], epilogue.parameters[1], epilogue.parameters[2]};
    if (coefficients != nullptr) {
      parameters[0] = static_cast<double>(coefficients[row]);
      parameters[1] = static_cast<double>(coefficients[channels + row]);
    }
    const float* added = residual.data == nullptr ? nullptr : residual.data + row * residual.stride;
    finish_row(epilogue, parameters, added, y.data + row * y.stride, count);
  }
}

}  // namespace strand::layers
