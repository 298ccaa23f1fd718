# The installed package: find_package(strand) gives strand::engine, and pkg-config gives strand.
include(CMakePackageConfigHelpers)

# Installed headers keep their folders under include/strand, which is in the include path too, so that
# "engine/session.h" means the same in the tree and outside.
foreach(folder engine layers graphs)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/strand COMPONENT development
    FILES_MATCHING PATTERN "*.h" PATTERN "cuda_check.h" EXCLUDE PATTERN "cuda_launch.h" EXCLUDE PATTERN "*_cpu.h" EXCLUDE PATTERN "include" EXCLUDE)
endforeach()
install(FILES ${PROJECT_SOURCE_DIR}/graphs/include/strand/strand.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/strand
  COMPONENT development)

install(TARGETS strand EXPORT strandTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/strand)
install(EXPORT strandTargets NAMESPACE strand:: DESTINATION ${package_dir} COMPONENT development)

# A static library leaves its own libraries to whoever links it; a shared one has them already.
get_target_property(strand_type strand TYPE)
set(STRAND_STATIC OFF)
if(strand_type STREQUAL "STATIC_LIBRARY")
  set(STRAND_STATIC ON)
endif()
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/strandConfig.cmake.in ${PROJECT_BINARY_DIR}/strandConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/strandConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/strandConfig.cmake ${PROJECT_BINARY_DIR}/strandConfigVersion.cmake
  DESTINATION ${package_dir} COMPONENT development)

set(pc_requires "")
set(pc_libs "-lstrand")
if(STRAND_STATIC)
  list(APPEND pc_requires yaml-cpp)
  if(LIBZIP_FOUND)
    list(APPEND pc_requires libzip)
  endif()
  if(SNDFILE_FOUND)
    list(APPEND pc_requires sndfile)
  endif()
  if(STRAND_HAVE_CUDA)
    string(APPEND pc_libs " -L${CUDAToolkit_LIBRARY_DIR} -lcublas -lcudart")
  endif()
  string(APPEND pc_libs " -pthread")
endif()
list(JOIN pc_requires " " pc_requires)
configure_file(${CMAKE_CURRENT_LIST_DIR}/strand.pc.in ${PROJECT_BINARY_DIR}/strand.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/strand.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
