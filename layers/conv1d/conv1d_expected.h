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
// Or so far that none reads what another lane of a warp does.
bool has_taps_apart(const Conv1dProblem& problem);

double few_channels_seconds(const Conv1dProblem& problem, int64_t out_length, int processors);
double tensor_seconds(const Conv1dProblem& problem, int64_t out_length, int processors);

// How thread blocks of cuda.wgmma walk over tiles.
struct WgmmaWalk {
  double stage_seconds = 0.3e-6;  // that a stage takes to convert besides its values
  double converted = 1;           // of a tile's stages
  double halves = 1;              // of a tall tile's, 128 outputs each, that are multiplied
};
double wgmma_tile_seconds(const Conv1dProblem& problem, const wgmma::Geometry& geometry, const WgmmaWalk& walk = {});
double wgmma_seconds(const Conv1dProblem& problem, const wgmma::Geometry& geometry, int64_t out_length, int processors);

}  // namespace strand::layers
