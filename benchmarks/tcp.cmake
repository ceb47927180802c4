add_executable(tcp_bench ${CMAKE_CURRENT_LIST_DIR}/tcp_bench.cc)
target_link_libraries(tcp_bench PRIVATE mf_transport_tcp memfabric_warnings)
