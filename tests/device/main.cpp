// GoogleTest's main for programs that need a GPU. Exit code 77 where there is none: ctest reports the program as skipped.
#include <c10/cuda/CUDAFunctions.h>
#include <gtest/gtest.h>

#include <cstdio>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (c10::cuda::device_count() == 0) {
    std::puts("No GPU: nothing was tested.");
    return 77;
  }
  return RUN_ALL_TESTS();
}
