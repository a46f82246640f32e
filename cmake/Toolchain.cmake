# Compiler cache and fast linker where they are installed; warnings; sanitizers.
find_program(MAGICID_CCACHE ccache)
if(MAGICID_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${MAGICID_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${MAGICID_CCACHE})
endif()
find_program(MAGICID_MOLD mold)
if(MAGICID_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_library(magicid_flags INTERFACE)
target_compile_options(magicid_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers>)
if(MAGICID_ASAN)
  # -fno-sanitize-recover: a report of undefined behaviour fails the test. vptr checks need type information that LibTorch's wheel hides.
  add_compile_options(-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
  add_link_options(-fsanitize=address,undefined)
endif()
