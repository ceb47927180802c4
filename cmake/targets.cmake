# memfabric_library(NAME SOURCES … [PUBLIC …] [PRIVATE …]): one static library a folder.
# memfabric_test(NAME [SERIAL] SOURCES … [LIBS …] [LABELS …] [TIMEOUT s]): one GoogleTest binary,
# run by ctest case by case; SERIAL: with nothing beside it.
# memfabric_fuzz(NAME SOURCES … [LIBS …]): one libFuzzer target, run by `make fuzz`; only with
# MEMFABRIC_BUILD_FUZZ.

function(memfabric_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(${name} PUBLIC ${arg_PUBLIC} PRIVATE memfabric_warnings ${arg_PRIVATE})
endfunction()

function(memfabric_test name)
  if(NOT MEMFABRIC_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "SERIAL" "TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(${name} PRIVATE ${arg_LIBS} memfabric_warnings GTest::gmock GTest::gtest_main)
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  set(serial)
  if(arg_SERIAL)
    set(serial RUN_SERIAL TRUE)
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST
    PROPERTIES TIMEOUT ${arg_TIMEOUT} ${serial} LABELS "${arg_LABELS}")
endfunction()

function(memfabric_fuzz name)
  if(NOT MEMFABRIC_BUILD_FUZZ)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(${name} PRIVATE ${arg_LIBS} memfabric_warnings)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  add_dependencies(memfabric_fuzz_targets ${name})
endfunction()
