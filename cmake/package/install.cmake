# Installs the C interface below ${memfabric_install_prefix}: lib/libmf_smem.so (and
# libmemfabric.so, its second name), include/memfabric, the CMake package and the pkg-config file;
# component memfabric. All of it may be moved: paths are relative.

install(TARGETS mf_smem mf_second_name LIBRARY DESTINATION ${memfabric_install_prefix}/lib COMPONENT memfabric)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/memfabric DESTINATION ${memfabric_install_prefix}/include COMPONENT memfabric
  FILES_MATCHING PATTERN "*.h")

include(CMakePackageConfigHelpers)
configure_file(${CMAKE_CURRENT_LIST_DIR}/memfabric.pc.in ${CMAKE_CURRENT_BINARY_DIR}/memfabric.pc @ONLY)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/memfabric-config-version.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/memfabric.pc DESTINATION ${memfabric_install_prefix}/lib/pkgconfig COMPONENT memfabric)
install(FILES ${CMAKE_CURRENT_LIST_DIR}/memfabric-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/memfabric-config-version.cmake
  DESTINATION ${memfabric_install_prefix}/lib/cmake/memfabric COMPONENT memfabric)
