// binding/bm_config.h: BmConfig, as Python fills it. What doesn't fit the C interface is reported
// by initialize.

#pragma once

#include <memfabric/smem_bm.h>
#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>

#include "config_fields.h"

namespace memfabric::python {

struct BmConfig {
  Field init_timeout = 0;
  Field create_timeout = 0;
  Field operation_timeout = 0;
  bool start_store = false;
  bool start_store_only = false;
  bool dynamic_world_size = false;
  bool unified_address_space = false;
  bool auto_ranking = false;
  Field rank_id = 0;
  Field flags = 0;
  std::string nic;
  bool data_tls = false;

  BmConfig();  // the library's defaults
  // Refused: a field doesn't fit.
  smem_bm_config_t ToC() const;
  void SetNic(OptionalStr text);  // ValueError: see NicError
};

void BindBmConfig(nb::module_& module);

}  // namespace memfabric::python
