# Device sources: the few files (the NCCL backend, what asks the CUDA runtime, kernels in *.cu) that need CUDA. Each has a fallback source with the same functions for builds
# without CUDA, so that callers need no #ifdef (magicid_room's DEVICE_SOURCES and FALLBACK_SOURCES, cmake/Rooms.cmake).
#
# MAGICID_CUDA=ON             device sources take the fallbacks' place in every program (preset cuda)
# MAGICID_CUDA_LINK_CHECK=ON  CPU build; device sources are compiled as well, and each program is linked once more with them
#                             (magicid -> magicid_cuda). That program starts only where the CUDA libraries are.
#
# Targets: magicid::torch_cuda (LibTorch's CUDA part with the CUDA runtime), magicid::nccl.
if(MAGICID_CUDA AND MAGICID_CUDA_LINK_CHECK)
  message(FATAL_ERROR "MAGICID_CUDA_LINK_CHECK belongs to the CPU build; with MAGICID_CUDA every program is linked with the device sources.")
endif()
if(MAGICID_CUDA OR MAGICID_CUDA_LINK_CHECK)
  set(MAGICID_DEVICE_SOURCES_BUILT ON)
else()
  set(MAGICID_DEVICE_SOURCES_BUILT OFF)
  return()
endif()

# The CUDA release that LibTorch was built for, as its wheel says; the toolkit must share its major version.
set(_cuda_wanted 13)
if(EXISTS ${MAGICID_TORCH_DIR}/version.py)
  file(STRINGS ${MAGICID_TORCH_DIR}/version.py _line REGEX "^cuda[: ].*'[0-9]+\\.")
  if(NOT _line)
    message(FATAL_ERROR "The LibTorch in ${MAGICID_TORCH_DIR} is a CPU-only one: device sources need one with CUDA.")
  endif()
  string(REGEX REPLACE ".*'([0-9]+)\\..*" "\\1" _cuda_wanted "${_line}")
endif()

# The compiler: the one given, else a system toolkit of that major version, else the one that `launch/bootstrap --cuda` installed.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  file(GLOB _nvcc_of_wheels ${CMAKE_SOURCE_DIR}/.deps/python/lib/python3*/site-packages/nvidia/cu13/bin/nvcc
                            ${MAGICID_TORCH_SITE}/nvidia/cu13/bin/nvcc)
  find_program(MAGICID_SYSTEM_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
  foreach(_candidate ${MAGICID_SYSTEM_NVCC} ${_nvcc_of_wheels})
    execute_process(COMMAND ${_candidate} --version OUTPUT_VARIABLE _version ERROR_QUIET)
    if(_version MATCHES "release ${_cuda_wanted}\\.")
      set(CMAKE_CUDA_COMPILER ${_candidate} CACHE FILEPATH "nvcc")
      break()
    endif()
  endforeach()
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "No nvcc of CUDA ${_cuda_wanted} was found. Run `launch/bootstrap --cuda`, or pass -DCMAKE_CUDA_COMPILER=<nvcc>.")
  endif()
endif()

# 80: A100. 90a: H100 and H200. 100: B200; its PTX also serves later GPUs.
set(CMAKE_CUDA_ARCHITECTURES "80-real;90a-real;100" CACHE STRING "GPU architectures")
if(MAGICID_CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${MAGICID_CCACHE})
endif()
enable_language(CUDA)
set(CMAKE_CUDA_RUNTIME_LIBRARY None)   # after enable_language, whose own test needs one; the shared runtime that LibTorch uses is linked below
set(CMAKE_CUDA_STANDARD 20)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)   # CMake knows nvcc's C++20 from 3.26 on
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()

get_filename_component(_toolkit ${CMAKE_CUDA_COMPILER} REALPATH)
get_filename_component(_toolkit ${_toolkit} DIRECTORY)
get_filename_component(_toolkit ${_toolkit} DIRECTORY)
find_library(MAGICID_CUDART_LIBRARY NAMES libcudart.so.${_cuda_wanted} cudart
  HINTS ${MAGICID_NVIDIA_LIB_DIRS} ${_torch_lib} ${_toolkit}/lib64 ${_toolkit}/lib NO_DEFAULT_PATH REQUIRED)
magicid_import_torch(magicid_torch_cuda torch_cuda c10_cuda)
add_library(magicid::torch_cuda ALIAS magicid_torch_cuda)
target_include_directories(magicid_torch_cuda SYSTEM INTERFACE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
target_link_libraries(magicid_torch_cuda INTERFACE magicid::torch ${MAGICID_CUDART_LIBRARY})
# LibTorch's CUDA operators register themselves when the library is loaded: it must stay linked though no symbol of it may be used.
target_link_options(magicid_torch_cuda INTERFACE -Wl,--no-as-needed)

# NCCL: the wheel's, which LibTorch is linked to, before any other.
file(GLOB _nccl_roots ${MAGICID_TORCH_SITE}/nvidia/nccl ${CMAKE_SOURCE_DIR}/.deps/python/lib/python3*/site-packages/nvidia/nccl)
find_path(MAGICID_NCCL_INCLUDE_DIR nccl.h HINTS ${_nccl_roots} ENV NCCL_HOME ${_toolkit} PATH_SUFFIXES include)
find_library(MAGICID_NCCL_LIBRARY NAMES libnccl.so.2 nccl HINTS ${_nccl_roots} ENV NCCL_HOME ${_toolkit} PATH_SUFFIXES lib lib64)
if(NOT MAGICID_NCCL_INCLUDE_DIR OR NOT MAGICID_NCCL_LIBRARY)
  message(FATAL_ERROR "NCCL was not found (nccl.h, libnccl.so.2). Run `launch/bootstrap --cuda`, or set NCCL_HOME.")
endif()
add_library(magicid_nccl INTERFACE)
add_library(magicid::nccl ALIAS magicid_nccl)
target_include_directories(magicid_nccl SYSTEM INTERFACE ${MAGICID_NCCL_INCLUDE_DIR})
target_link_libraries(magicid_nccl INTERFACE ${MAGICID_NCCL_LIBRARY} magicid::torch_cuda)
message(STATUS "Device sources: ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION}, NCCL ${MAGICID_NCCL_LIBRARY}, architectures ${CMAKE_CUDA_ARCHITECTURES}")
