# LibTorch as the target magicid::torch.
#
# CPU build: libtorch_cpu.so and libc10.so are imported directly. find_package(Torch) on the wheel would demand the CUDA
# toolkit even for a CPU program.  CUDA build: adds libtorch_cuda, libc10_cuda, cudart and the NCCL that LibTorch itself uses.
# LibTorch is looked for in MAGICID_TORCH_DIR (a `torch` folder of the wheel, or an unpacked LibTorch), in the project's own
# third_party folder that launch/bootstrap fills, and in CMAKE_PREFIX_PATH.
file(GLOB _magicid_torch_candidates ${CMAKE_SOURCE_DIR}/.deps/python/lib/python3*/site-packages/torch ${CMAKE_SOURCE_DIR}/.deps/site-packages/torch)
find_path(MAGICID_TORCH_DIR include/torch/csrc/api/include/torch/version.h
  HINTS ${MAGICID_TORCH_DIR} ${_magicid_torch_candidates} PATHS ${CMAKE_PREFIX_PATH} PATH_SUFFIXES torch libtorch)
if(NOT MAGICID_TORCH_DIR)
  message(FATAL_ERROR "LibTorch not found. Run launch/bootstrap, or pass -DMAGICID_TORCH_DIR=<folder with include/ and lib/>.")
endif()
set(_torch_lib ${MAGICID_TORCH_DIR}/lib)
get_filename_component(_site ${MAGICID_TORCH_DIR} DIRECTORY)
file(GLOB MAGICID_NVIDIA_LIB_DIRS ${_site}/nvidia/*/lib)

add_library(magicid_torch INTERFACE)
add_library(magicid::torch ALIAS magicid_torch)
target_include_directories(magicid_torch SYSTEM INTERFACE
  ${MAGICID_TORCH_DIR}/include ${MAGICID_TORCH_DIR}/include/torch/csrc/api/include)
target_link_libraries(magicid_torch INTERFACE ${_torch_lib}/libtorch_cpu.so ${_torch_lib}/libc10.so)
target_link_options(magicid_torch INTERFACE
  -Wl,--unresolved-symbols=ignore-in-shared-libs)   # the wheel's CPU library names CUDA runtime symbols that load by rpath
set(MAGICID_RPATH ${_torch_lib} ${MAGICID_NVIDIA_LIB_DIRS})
set(CMAKE_BUILD_RPATH ${MAGICID_RPATH})
