# The libraries of others that the core is made from, as targets: memfabric_fmt, memfabric_spdlog,
# memfabric_openssl, memfabric_protobuf, memfabric_grpc.
#
# libmf_smem.so lives in processes that have libraries of the same names and other versions: it
# holds its own, hidden, and loads nothing but libc's family (MEMFABRIC_SELF_CONTAINED). Tests link
# the shared ones, which is quicker: what a target gets hangs on its property
# MEMFABRIC_SELF_CONTAINED.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(Protobuf REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(GRPC REQUIRED IMPORTED_TARGET grpc++)

set(third_party ${PROJECT_SOURCE_DIR}/third_party)
if(MEMFABRIC_SELF_CONTAINED AND NOT EXISTS ${third_party}/made-from)
  message(FATAL_ERROR "third_party/ is empty: run scripts/fetch_sources (Debian), or link shared libraries with "
    "-DMEMFABRIC_SELF_CONTAINED=OFF")
endif()

# Debian has no archives of these two. fmt is its headers and the one file that instantiates them;
# spdlog, which one of our files includes, its headers. Neither's own target: those bring libfmt.so.
if(MEMFABRIC_SELF_CONTAINED)
  add_library(memfabric_fmt STATIC ${third_party}/fmtlib/format.cc)
  target_include_directories(memfabric_fmt SYSTEM PUBLIC $<TARGET_PROPERTY:fmt::fmt-header-only,INTERFACE_INCLUDE_DIRECTORIES>)
else()
  add_library(memfabric_fmt INTERFACE)
  target_link_libraries(memfabric_fmt INTERFACE fmt::fmt)
endif()
add_library(memfabric_spdlog INTERFACE)
target_include_directories(memfabric_spdlog SYSTEM INTERFACE
  $<TARGET_PROPERTY:spdlog::spdlog_header_only,INTERFACE_INCLUDE_DIRECTORIES>)
target_compile_definitions(memfabric_spdlog INTERFACE SPDLOG_FMT_EXTERNAL)

# memfabric_dependency(NAME SHARED … ARCHIVES …): an interface target for either. Archives may name
# system libraries too.
function(memfabric_dependency name)
  cmake_parse_arguments(arg "" "" "SHARED;ARCHIVES" ${ARGN})
  set(archives)
  if(MEMFABRIC_SELF_CONTAINED)
    foreach(library ${arg_ARCHIVES})
      if(library MATCHES "^(dl|pthread|rt|m|atomic)$")
        list(APPEND archives ${library})
        continue()
      endif()
      find_library(MEMFABRIC_ARCHIVE_${library} lib${library}.a)
      mark_as_advanced(MEMFABRIC_ARCHIVE_${library})
      if(NOT MEMFABRIC_ARCHIVE_${library})
        message(FATAL_ERROR "lib${library}.a is missing: install it, or link the shared libraries with -DMEMFABRIC_SELF_CONTAINED=OFF")
      endif()
      list(APPEND archives ${MEMFABRIC_ARCHIVE_${library}})
    endforeach()
  endif()
  add_library(${name} INTERFACE)
  target_link_libraries(${name} INTERFACE
    "$<IF:$<BOOL:$<TARGET_PROPERTY:MEMFABRIC_SELF_CONTAINED>>,${archives},${arg_SHARED}>")
endfunction()

# The store's TLS is our own, so the library holds the smaller gRPC, which has none; tests talk TLS
# to etcd by the larger one.
if(MEMFABRIC_SELF_CONTAINED)
  pkg_check_modules(GRPC_UNSECURE REQUIRED grpc++_unsecure)
endif()
memfabric_dependency(memfabric_openssl SHARED OpenSSL::SSL OpenSSL::Crypto ARCHIVES ssl crypto dl)
memfabric_dependency(memfabric_protobuf SHARED protobuf::libprotobuf ARCHIVES protobuf z)
# What its pkg-config file leaves out comes last.
memfabric_dependency(memfabric_grpc_only SHARED PkgConfig::GRPC
  ARCHIVES ${GRPC_UNSECURE_STATIC_LIBRARIES} address_sorting upb cares z)
add_library(memfabric_grpc INTERFACE)
target_link_libraries(memfabric_grpc INTERFACE memfabric_grpc_only memfabric_protobuf)

# memfabric_self_contained(TARGET): a shared library that holds what it needs.
#
# The archives' code is compiled for programs (-fPIE), which a shared library may hold but for two
# things. Thread-local variables of its own must not be at an offset that the linker knows: five
# files are compiled here instead (third_party/README.md). Data of other shared libraries must not
# be addressed directly: libstdc++ is inside too, and stderr has a stand-in.
function(memfabric_self_contained target)
  if(NOT MEMFABRIC_SELF_CONTAINED)
    return()
  endif()
  set(instead ${third_party}/protobuf/arena.cc ${third_party}/abseil/cordz_functions.cc ${third_party}/abseil/pool_urbg.cc
    ${third_party}/abseil/raw_hash_set.cc ${third_party}/abseil/sysinfo.cc)
  add_library(${target}_instead OBJECT ${instead})
  target_compile_options(${target}_instead PRIVATE -w)
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_instead> ${third_party}/stderr.c)
  set_target_properties(${target} PROPERTIES MEMFABRIC_SELF_CONTAINED ON)
  target_link_options(${target} PRIVATE -static-libstdc++ -Wl,--exclude-libs,ALL -Wl,--as-needed -Wl,--gc-sections)
endfunction()
