# Installs the built tree into a folder of its own, and uses it as a stranger would: through find_package, through
# pkg-config, and header by header. Run as cmake -D BUILD_DIR=... -D SOURCE_DIR=... -D WORK_DIR=... -P.
cmake_minimum_required(VERSION 3.24)

function(run expected)  # a regular expression for the output, and the command
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(JOIN " " command ${ARGN})
  if(NOT status EQUAL 0 OR NOT output MATCHES "${expected}")
    message(FATAL_ERROR "${command}\nstatus ${status}, expected '${expected}' in\n${output}")
  endif()
  message(STATUS "${command}")
  set(output "${output}" PARENT_SCOPE)
endfunction()

set(prefix ${WORK_DIR}/prefix)
file(REMOVE_RECURSE ${WORK_DIR})
run("" ${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${prefix})
if(EXISTS ${prefix}/bin/strand)
  run("strand [0-9]" ${prefix}/bin/strand --version)
endif()

function(check_project name expected)
  run("" ${CMAKE_COMMAND} -S ${SOURCE_DIR}/examples/${name} -B ${WORK_DIR}/${name} -G ${GENERATOR}
    -D CMAKE_PREFIX_PATH=${prefix} -D CMAKE_CXX_COMPILER=${CXX})
  run("" ${CMAKE_COMMAND} --build ${WORK_DIR}/${name})
  run("${expected}" ${WORK_DIR}/${name}/${name}_example)
endfunction()
check_project(link "y = 1 3 5 7 4\n")
check_project(custom_layer "y = 0 1.5232 -1.5232\n")

find_program(pkg_config pkg-config)
file(GLOB_RECURSE pc ${prefix}/strand.pc)
if(pkg_config)
  get_filename_component(pc_dir ${pc} DIRECTORY)
  set(ENV{PKG_CONFIG_PATH} "${pc_dir}:$ENV{PKG_CONFIG_PATH}")
  run("strand" ${pkg_config} --print-provides strand)
  run("" ${pkg_config} --cflags --libs strand)
  separate_arguments(options UNIX_COMMAND "${output}")
  get_filename_component(lib_dir ${pc_dir} DIRECTORY)
  run("" ${CXX} -std=c++20 ${SOURCE_DIR}/examples/link/main.cc -o ${WORK_DIR}/by_pkg_config ${options}
    -Wl,-rpath,${lib_dir})
  run("y = 1 3 5 7 4\n" ${WORK_DIR}/by_pkg_config)
else()
  message("SKIPPED: no pkg-config")
endif()

# Each header by itself, with nothing of ours or others' in the include path.
file(GLOB_RECURSE headers ${prefix}/include/*.h)
list(LENGTH headers count)
if(count LESS 20)
  message(FATAL_ERROR "only ${count} headers were installed")
endif()
run("" ${CXX} -std=c++20 -w -fsyntax-only -x c++ -I${prefix}/include -I${prefix}/include/strand ${headers})
message(STATUS "${count} headers are self-contained")
