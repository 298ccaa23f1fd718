#pragma once
// What the CUDA implementations of Conv1d are expected to take, in seconds: so their order follows from a problem's
// sizes. Plain host code, so that it is tested without a GPU. The numbers are Hopper's, measured on random problems
// (README.md); on other GPUs the order is about the same. cuda.direct's is part of its plan (conv1d_direct_plan.h).

#include "layers/conv1d/conv1d_wgmma.h"

namespace strand::layers {

constexpr double kLaunchSeconds = 2.5e-6;

// Every input read once and every output written once; strides past a sector's samples leave some out.
double memory_seconds(const Conv1dProblem& problem, int64_t out_length);

// Taps so far from each other that none finds the cache lines of another.
bool has_far_taps(const Conv1dProblem& problem);

double few_channels_seconds(const Conv1dProblem& problem, int64_t out_length, int processors);
double tensor_seconds(const Conv1dProblem& problem, int64_t out_length, int processors);
double wgmma_seconds(const Conv1dProblem& problem, const wgmma::Geometry& geometry, int64_t out_length, int processors);

}  // namespace strand::layers
