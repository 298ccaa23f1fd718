# Flags of our own targets, never of those who link them.
include(CheckCXXCompilerFlag)

add_library(strand_flags INTERFACE)
target_compile_options(strand_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wconversion -Wshadow>
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra --expt-relaxed-constexpr>)
# GCC 12 sees overlapping copies in "text" + std::string (its bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(strand_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict> $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wno-restrict>)
endif()
if(STRAND_WARNINGS_AS_ERRORS)
  target_compile_options(strand_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Werror> $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings -Xcompiler=-Werror>)
endif()
if(STRAND_NATIVE)
  check_cxx_compiler_flag(-march=native STRAND_MARCH_NATIVE)
  target_compile_options(strand_flags INTERFACE
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${STRAND_MARCH_NATIVE}>>:-march=native>)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  check_cxx_compiler_flag(-march=x86-64-v3 STRAND_MARCH_X86_64_V3)
  target_compile_options(strand_flags INTERFACE
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${STRAND_MARCH_X86_64_V3}>>:-march=x86-64-v3>)
endif()
if(STRAND_SANITIZE)
  target_compile_options(strand_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${STRAND_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer>)
  target_link_options(strand_flags INTERFACE -fsanitize=${STRAND_SANITIZE})
endif()

# A second build of the same sources costs seconds with ccache.
find_program(STRAND_CCACHE ccache)
mark_as_advanced(STRAND_CCACHE)
if(STRAND_CCACHE AND PROJECT_IS_TOP_LEVEL)
  foreach(language CXX CUDA)
    if(NOT DEFINED CMAKE_${language}_COMPILER_LAUNCHER)
      set(CMAKE_${language}_COMPILER_LAUNCHER ${STRAND_CCACHE})
    endif()
  endforeach()
endif()
