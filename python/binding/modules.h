// binding/modules.h: what the extension module consists of.

#pragma once

#include <nanobind/nanobind.h>

namespace memfabric::python {

void BindBm(nanobind::module_& module);
void BindShm(nanobind::module_& module);
void BindTransfer(nanobind::module_& module);

}  // namespace memfabric::python
