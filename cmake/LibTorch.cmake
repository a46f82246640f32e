# LibTorch as targets:
#   magicid::torch        the CPU part: libtorch_cpu.so, libc10.so and the headers
#   magicid::torch_cuda   its CUDA part and the CUDA runtime; only where device sources are built (cmake/Cuda.cmake)
#
# The libraries are imported one by one. find_package(Torch) on the wheel would demand the CUDA toolkit even for a CPU program.
# LibTorch is looked for in MAGICID_TORCH_DIR (the `torch` folder of a wheel, or an unpacked LibTorch), in .deps/, which launch/bootstrap
# fills, and in CMAKE_PREFIX_PATH.
file(GLOB _torch_folders ${CMAKE_SOURCE_DIR}/.deps/python/lib/python3*/site-packages/torch)
find_path(MAGICID_TORCH_DIR include/torch/csrc/api/include/torch/version.h
  HINTS ${_torch_folders} PATHS ${CMAKE_PREFIX_PATH} PATH_SUFFIXES torch libtorch)
if(NOT MAGICID_TORCH_DIR)
  message(FATAL_ERROR "LibTorch was not found. Run launch/bootstrap, or pass -DMAGICID_TORCH_DIR=<folder with include/ and lib/>.")
endif()
file(STRINGS ${MAGICID_TORCH_DIR}/include/torch/headeronly/version.h _torch_version REGEX "^#define TORCH_VERSION_M(AJOR|INOR) ")
string(REGEX REPLACE "[^0-9;]" "" _torch_version "${_torch_version}")
list(JOIN _torch_version "." MAGICID_TORCH_VERSION)
if(MAGICID_TORCH_VERSION VERSION_LESS 2.11)
  message(FATAL_ERROR "LibTorch ${MAGICID_TORCH_VERSION} in ${MAGICID_TORCH_DIR} is too old: 2.11 or later is needed.")
endif()
message(STATUS "LibTorch ${MAGICID_TORCH_VERSION}: ${MAGICID_TORCH_DIR}")

set(_torch_lib ${MAGICID_TORCH_DIR}/lib)
# In a wheel NVIDIA's libraries lie beside the torch folder, one folder for the toolkit and one for each other library.
get_filename_component(MAGICID_TORCH_SITE ${MAGICID_TORCH_DIR} DIRECTORY)
file(GLOB MAGICID_NVIDIA_LIB_DIRS ${MAGICID_TORCH_SITE}/nvidia/*/lib)

# magicid_import_torch(TARGET LIBRARY...): an interface target over libraries of LibTorch's folder.
function(magicid_import_torch target)
  add_library(${target} INTERFACE)
  foreach(name ${ARGN})
    add_library(libtorch::${name} SHARED IMPORTED GLOBAL)
    set_target_properties(libtorch::${name} PROPERTIES IMPORTED_LOCATION ${_torch_lib}/lib${name}.so)
    if(NOT EXISTS ${_torch_lib}/lib${name}.so)
      message(FATAL_ERROR "${_torch_lib}/lib${name}.so is missing: this LibTorch has no such part.")
    endif()
    target_link_libraries(${target} INTERFACE libtorch::${name})
  endforeach()
endfunction()

magicid_import_torch(magicid_torch torch_cpu c10)
add_library(magicid::torch ALIAS magicid_torch)
target_include_directories(magicid_torch SYSTEM INTERFACE
  ${MAGICID_TORCH_DIR}/include ${MAGICID_TORCH_DIR}/include/torch/csrc/api/include)
# The CPU library of the wheel names CUDA runtime symbols from libraries that it finds through its own rpath when it is loaded.
target_link_options(magicid_torch INTERFACE -Wl,--unresolved-symbols=ignore-in-shared-libs)
set(CMAKE_BUILD_RPATH ${_torch_lib} ${MAGICID_NVIDIA_LIB_DIRS})
