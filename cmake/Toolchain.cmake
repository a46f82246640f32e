# Compiler cache and fast linker where they are installed; warnings; sanitizers.
find_program(MAGICID_CCACHE ccache)
if(MAGICID_CCACHE)
  # Paths below the project count as relative, so that another checkout finds the same objects; the sloppiness is what a precompiled header needs.
  set(MAGICID_CCACHE ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${MAGICID_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${MAGICID_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${MAGICID_CCACHE})
endif()
find_program(MAGICID_MOLD mold)
if(MAGICID_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_library(magicid_flags INTERFACE)
target_compile_options(magicid_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers>)
# Of GCC: the first takes the files of a unit for headers, the second sees optional values as never set at -O1.
target_compile_options(magicid_flags INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-subobject-linkage -Wno-maybe-uninitialized>)
if(MAGICID_ASAN)
  # -fno-sanitize-recover: a report of undefined behaviour fails the test. vptr checks need type information that LibTorch's wheel hides.
  add_compile_options(-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
  add_link_options(-fsanitize=address,undefined)
endif()
