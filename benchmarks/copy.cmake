add_executable(copy_bench ${CMAKE_CURRENT_LIST_DIR}/copy_bench.cc)
target_include_directories(copy_bench PRIVATE ${CMAKE_CURRENT_LIST_DIR})
target_link_libraries(copy_bench PRIVATE mf_copy mf_address benchmark::benchmark memfabric_warnings)
