# magicid_room(NAME [LOOPS] SOURCES a.cpp ... ROOMS base storage ... LIBRARIES magicid::torch ...
#              [DEVICE_SOURCES x.cu y_nccl.cpp ... FALLBACK_SOURCES x_none.cpp y_none.cpp ... DEVICE_LIBRARIES magicid::nccl ...])
#   One static library for each room of src/, linked only to the rooms below it (docs/architecture.md). Headers of other rooms are
#   found as "room/file.h"; tests/conventions checks the includes against ROOMS.
#   LOOPS: the room computes in loops of its own (pixels, hashes, random numbers), not in LibTorch alone, and is worth the optimiser's time.
#   DEVICE_SOURCES are the files that need CUDA or NCCL; FALLBACK_SOURCES define the same functions for builds without it. Exactly one of
#   the two sets is in a program, so callers need no #ifdef. A fallback must define every function of its header, one fallback file for
#   each device header, and nothing else.
function(magicid_room name)
  cmake_parse_arguments(ARG "LOOPS" "" "SOURCES;DEVICE_SOURCES;FALLBACK_SOURCES;DEVICE_LIBRARIES;ROOMS;LIBRARIES" ${ARGN})
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "magicid_room(${name}): unknown arguments: ${ARG_UNPARSED_ARGUMENTS}")
  endif()
  string(REPLACE "/" "_" target ${name})
  magicid_units(units ${name} ${ARG_SOURCES})
  if(MAGICID_CUDA)
    list(APPEND units ${ARG_DEVICE_SOURCES})
  else()
    list(APPEND units ${ARG_FALLBACK_SOURCES})   # each an object of its own: the device sources take its place one by one
  endif()
  add_library(magicid_${target} STATIC ${units})
  get_property(torch_rooms GLOBAL PROPERTY MAGICID_TORCH_ROOMS)
  foreach(below ${ARG_ROOMS} ${ARG_LIBRARIES})
    if(below STREQUAL "magicid::torch" OR below IN_LIST torch_rooms)
      set_property(GLOBAL APPEND PROPERTY MAGICID_TORCH_ROOMS ${name})
      break()
    endif()
  endforeach()
  if(ARG_LOOPS)   # without the precompiled header: GCC 12 crashes on one of another level
    target_compile_options(magicid_${target} PRIVATE $<$<AND:$<CONFIG:Release>,$<COMPILE_LANGUAGE:CXX>>:-O2>)
  else()
    magicid_precompile(magicid_${target} magicid_torch_header ${ARG_ROOMS} ${ARG_LIBRARIES})
  endif()
  target_include_directories(magicid_${target} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(magicid_${target} PUBLIC magicid_flags ${ARG_LIBRARIES})
  foreach(room ${ARG_ROOMS})
    string(REPLACE "/" "_" below ${room})
    target_link_libraries(magicid_${target} PUBLIC magicid_${below})
  endforeach()
  if(ARG_DEVICE_SOURCES AND MAGICID_CUDA)
    target_link_libraries(magicid_${target} PUBLIC magicid::torch_cuda ${ARG_DEVICE_LIBRARIES})
  elseif(ARG_DEVICE_SOURCES AND MAGICID_CUDA_LINK_CHECK)
    # These objects come before the room's archive on the link line, so the archive's fallback member is not taken. One that is taken
    # all the same, because it defines a function that the device sources lack, ends in a "multiple definition" error: as it should.
    add_library(magicid_${target}_device OBJECT ${ARG_DEVICE_SOURCES})
    target_link_libraries(magicid_${target}_device PRIVATE magicid_${target} magicid::torch_cuda ${ARG_DEVICE_LIBRARIES})
    set_property(GLOBAL APPEND PROPERTY MAGICID_DEVICE_ROOMS ${name})
    set_property(GLOBAL APPEND PROPERTY MAGICID_DEVICE_LIBRARIES magicid::torch_cuda ${ARG_DEVICE_LIBRARIES})
  endif()
endfunction()

# magicid_precompile(TARGET HEADER ROOMS-AND-LIBRARIES...): gives a target that meets LibTorch's headers the precompiled HEADER
# (magicid_torch_header or magicid_test_header). It changes what a compilation costs, never what a file means: each file includes what it uses.
function(magicid_precompile target header)
  get_property(torch_rooms GLOBAL PROPERTY MAGICID_TORCH_ROOMS)
  foreach(name ${ARGN})
    if(MAGICID_PRECOMPILED_HEADERS AND (name STREQUAL "magicid::torch" OR name IN_LIST torch_rooms))
      target_precompile_headers(${target} REUSE_FROM ${header})
      return()
    endif()
  endforeach()
endfunction()

# magicid_units(RESULT ROOM a.cpp b.cpp ...): the files that are compiled. With MAGICID_UNIT_FILES above 1 that many files of a room make one
# unit, for most of a compilation's time goes into LibTorch's headers and templates. Units name their files relative to src/, so that ccache
# finds them again in another checkout.
function(magicid_units result room)
  set(sources ${ARGN})
  list(LENGTH sources count)
  if(MAGICID_UNIT_FILES LESS 2 OR count LESS 2)
    set(${result} ${sources} PARENT_SCOPE)
    return()
  endif()
  # As many units as needed, all about the same size.
  math(EXPR units "(${count} + ${MAGICID_UNIT_FILES} - 1) / ${MAGICID_UNIT_FILES}")
  set(files "")
  foreach(unit RANGE 1 ${units})
    math(EXPR from "(${unit} - 1) * ${count} / ${units}")
    math(EXPR length "${unit} * ${count} / ${units} - ${from}")
    list(SUBLIST sources ${from} ${length} members)
    set(content "")
    foreach(member ${members})
      string(APPEND content "#include \"${room}/${member}\"\n")
    endforeach()
    set(file ${CMAKE_CURRENT_BINARY_DIR}/unit_${unit}.cpp)
    file(GENERATE OUTPUT ${file} CONTENT "${content}")
    list(APPEND files ${file})
  endforeach()
  set(${result} ${files} PARENT_SCOPE)
endfunction()

function(magicid_link_rooms target)
  foreach(room ${ARGN})
    string(REPLACE "/" "_" below ${room})
    target_link_libraries(${target} PRIVATE magicid_${below})
  endforeach()
endfunction()

# The program `target`, made of `sources` and ROOMS, with every room's device sources in place of their fallbacks.
function(magicid_device_program target)
  cmake_parse_arguments(ARG "" "" "SOURCES;ROOMS;LIBRARIES" ${ARGN})
  add_executable(${target} ${ARG_SOURCES})
  if(MAGICID_CUDA_LINK_CHECK)
    get_property(device_rooms GLOBAL PROPERTY MAGICID_DEVICE_ROOMS)
    get_property(libraries GLOBAL PROPERTY MAGICID_DEVICE_LIBRARIES)
    foreach(room ${device_rooms})
      string(REPLACE "/" "_" room ${room})
      target_sources(${target} PRIVATE $<TARGET_OBJECTS:magicid_${room}_device>)
    endforeach()
    magicid_link_rooms(${target} ${ARG_ROOMS} ${device_rooms})
    target_link_libraries(${target} PRIVATE ${libraries})
  else()
    magicid_link_rooms(${target} ${ARG_ROOMS})
    target_link_libraries(${target} PRIVATE magicid::torch_cuda)
  endif()
  target_link_libraries(${target} PRIVATE magicid_flags ${ARG_LIBRARIES})
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX)
endfunction()

# magicid_program(NAME SOURCES main.cpp ROOMS ... [LIBRARIES ...])
#   An executable. A CPU build with MAGICID_CUDA_LINK_CHECK links it a second time with the device sources, as NAME_cuda. Call it after the
#   last room, for all of them take part.
function(magicid_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;ROOMS;LIBRARIES" ${ARGN})
  if(MAGICID_CUDA)
    magicid_device_program(${name} ${ARGN})
    return()
  endif()
  add_executable(${name} ${ARG_SOURCES})
  magicid_link_rooms(${name} ${ARG_ROOMS})
  target_link_libraries(${name} PRIVATE magicid_flags ${ARG_LIBRARIES})
  if(MAGICID_CUDA_LINK_CHECK)
    magicid_device_program(${name}_cuda ${ARGN})
  endif()
endfunction()

# Of every test. A rank that waits gives its core away, so that ctest may run other tests beside one of several ranks; and ranks of one node look for no fabric, which
# took longer than MPI's own start.
set(_test_environment OMP_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_pml=ob1)
if(MAGICID_ASAN)
  list(APPEND _test_environment UBSAN_OPTIONS=print_stacktrace=1
       LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/support/leaks.suppressions:print_suppressions=0)
endif()

# magicid_test(NAME SOURCES a_test.cpp ... ROOMS ... [RANKS 1 2 4] [TIMEOUT seconds] [LIBRARIES ...])
#   A GoogleTest program. Without RANKS it is one process; with RANKS it is started under mpirun once for each count, and uses
#   tests/ranks/main.cpp, which prints every rank's failures and fails if any rank failed or no test ran.
function(magicid_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;ROOMS;RANKS;LIBRARIES" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  magicid_link_rooms(${name} ${ARG_ROOMS})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE MAGICID_TEST_DATA="${CMAKE_SOURCE_DIR}/tests/data" MAGICID_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE magicid_flags GTest::gtest GTest::gmock ${ARG_LIBRARIES})
  magicid_precompile(${name} magicid_test_header ${ARG_ROOMS} ${ARG_LIBRARIES})
  if(ARG_RANKS)
    target_link_libraries(${name} PRIVATE magicid_rank_test_main)
    foreach(ranks ${ARG_RANKS})
      add_test(NAME ${name}.${ranks}_ranks
        COMMAND ${CMAKE_SOURCE_DIR}/launch/mpirun -n ${ranks} $<TARGET_FILE:${name}>)
      set_tests_properties(${name}.${ranks}_ranks PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "ranks"
        ENVIRONMENT "${_test_environment}")
    endforeach()
  else()
    target_link_libraries(${name} PRIVATE GTest::gtest_main)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "unit" ENVIRONMENT "${_test_environment}")
  endif()
endfunction()

# magicid_device_test(NAME SOURCES a_test.cpp ... ROOMS ... [LIBRARIES ...])
#   A GoogleTest program that needs a GPU. It is built wherever device sources are, so that it keeps compiling and linking, and run by
#   ctest (label `device`) in a CUDA build only; it exits with 77 where there is no GPU, which ctest reports as skipped.
function(magicid_device_test name)
  if(NOT MAGICID_DEVICE_SOURCES_BUILT)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;ROOMS;LIBRARIES" ${ARGN})
  magicid_device_program(${name} ${ARGN})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE GTest::gtest GTest::gmock)
  if(MAGICID_CUDA)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT 600 LABELS "device" SKIP_RETURN_CODE 77)
  endif()
endfunction()
