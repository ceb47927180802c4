# find_package(memfabric): the target memfabric::mf_smem, the C interface <memfabric/smem.h>.

if(NOT TARGET memfabric::mf_smem)
  get_filename_component(memfabric_root "${CMAKE_CURRENT_LIST_DIR}/../../.." REALPATH)
  add_library(memfabric::mf_smem SHARED IMPORTED)
  set_target_properties(memfabric::mf_smem PROPERTIES
    IMPORTED_LOCATION "${memfabric_root}/lib/libmf_smem.so"
    IMPORTED_SONAME libmf_smem.so
    INTERFACE_INCLUDE_DIRECTORIES "${memfabric_root}/include")
endif()
