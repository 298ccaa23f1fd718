#pragma once
// STRAND_HD marks functions that both CPU and CUDA code call; it is nothing where no CUDA compiler reads it.

#ifdef __CUDACC__
#define STRAND_HD __host__ __device__
#else
#define STRAND_HD
#endif
