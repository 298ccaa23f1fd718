#pragma once
// The few CUDA runtime calls that the engine makes, behind plain types, so that no caller needs a CUDA header or an
// #if. Without a CUDA toolkit cuda_stub.cc provides them: no devices, and Error(kDevice) "built without CUDA".

#include <cstddef>
#include <cstdint>
#include <string>

namespace strand::cuda {

bool built_with_cuda();
int device_count();            // 0 without driver, device or toolkit
std::string why_no_device();   // the driver's words where device_count() is 0
void check_device(int index);  // Error(kDevice) where there is no such device

struct DeviceInfo {
  std::string name;
  int compute_capability = 0;  // 90 for 9.0
  int multiprocessors = 0;
  int64_t memory_bytes = 0;
  int64_t shared_memory_per_block = 0;  // bytes, opted in
  int driver_version = 0;               // 13000 for 13.0
  int runtime_version = 0;
};
DeviceInfo device_info(int index);

void* allocate(int device, int64_t bytes);  // Error(kLimit) naming the bytes asked for and free
void free(int device, void* pointer) noexcept;
// Returns when done. Either side may be host (pageable) or device memory.
void copy(void* target, const void* source, int64_t bytes);
// Ordered on `stream`; host memory must stay as it is until the stream is synchronised.
void copy_async(void* target, const void* source, int64_t bytes, void* stream);

void zero_async(void* target, int64_t bytes, void* stream);

void* create_stream(int device);
void destroy_stream(int device, void* stream) noexcept;
void synchronize(int device, void* stream);
void set_device(int device);  // of the calling thread

// Time between two points of a stream, in milliseconds.
void* create_event(int device);
void destroy_event(void* event) noexcept;
void record(void* event, void* stream);
float elapsed_ms(void* start, void* stop);  // waits for `stop`

// Host memory that copies to and from the device run beside the host with.
void* allocate_pinned(int device, int64_t bytes);
void free_pinned(void* pointer) noexcept;

// What is enqueued on `stream` between the two is not run but kept, to be launched as one: copies are of the memory
// that they name, as it is at each launch. A stream whose capture failed is free again after end_capture().
void begin_capture(void* stream);
void* end_capture(void* stream);
void launch_graph(void* graph, void* stream);
void destroy_graph(void* graph) noexcept;

void* create_cublas(int device, void* stream);
void destroy_cublas(int device, void* handle) noexcept;

}  // namespace strand::cuda
