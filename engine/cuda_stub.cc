#include "engine/cuda_runtime.h"
#include "engine/error.h"

namespace strand::cuda {
namespace {

[[noreturn]] void fail() { throw Error(ErrorCategory::kDevice, why_no_device()); }

}  // namespace

bool built_with_cuda() { return false; }
int device_count() { return 0; }
std::string why_no_device() { return "strand was built without CUDA"; }
void check_device(int) { fail(); }
DeviceInfo device_info(int) { fail(); }
void* allocate(int, int64_t) { fail(); }
void free(int, void*) noexcept {}
void copy(void*, const void*, int64_t) { fail(); }
void copy_async(void*, const void*, int64_t, void*) { fail(); }
void zero_async(void*, int64_t, void*) { fail(); }
void* create_stream(int) { fail(); }
void destroy_stream(int, void*) noexcept {}
void synchronize(int, void*) { fail(); }
void set_device(int) { fail(); }
void* create_event(int) { fail(); }
void destroy_event(void*) noexcept {}
void record(void*, void*) { fail(); }
float elapsed_ms(void*, void*) { fail(); }
void* allocate_pinned(int, int64_t) { fail(); }
void free_pinned(void*) noexcept {}
void begin_capture(void*) { fail(); }
void* end_capture(void*) { fail(); }
void launch_graph(void*, void*) { fail(); }
void destroy_graph(void*) noexcept {}
void* create_cublas(int, void*) { fail(); }
void destroy_cublas(int, void*) noexcept {}

}  // namespace strand::cuda
