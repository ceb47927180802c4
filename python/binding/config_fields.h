// binding/config_fields.h: fields of the configs that Python fills. What doesn't fit the C
// interface is reported by initialize.

#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"

namespace memfabric::python {

// A field of a config: any int may be assigned, saturated to 64 bits.
using Field = std::int64_t;

// Refused: it doesn't fit.
inline std::uint32_t FieldToC(Field value, const char* name) {
  if (value < 0 || value > std::int64_t{UINT32_MAX}) {
    throw Refused{std::string("config.") + name + " is " + std::to_string(value) +
                  ", out of range: it must be 0 to " + std::to_string(UINT32_MAX)};
  }
  return static_cast<std::uint32_t>(value);
}

// A property that any int may be assigned to.
template <auto field, typename Config>
void BindIntField(nb::class_<Config>& type, const char* name, const char* doc) {
  type.def_prop_rw(
      name, [](const Config& config) { return config.*field; },
      [](Config& config, Int<std::int64_t> value) {
        bool negative = false;
        if (!value.fits)
          negative = PyObject_RichCompareBool(value.source.ptr(), nb::int_(0).ptr(), Py_LT) == 1;
        Field limit =
            negative ? std::numeric_limits<Field>::min() : std::numeric_limits<Field>::max();
        config.*field = value.fits ? value.value : limit;
      },
      doc);
}

template <auto field, typename Config>
void BindFlagField(nb::class_<Config>& type, const char* name, const char* doc) {
  std::string setter = std::string("def ") + name + "(self, value: bool | None, /) -> None";
  type.def_prop_rw(
      name, [](const Config& config) { return config.*field; },
      [](Config& config, Flag value) { config.*field = value.value; },
      nb::for_setter(nb::arg("value").none()), nb::for_setter(nb::sig(setter.c_str())), doc);
}

// What repr shows, and what copy and pickle make another one of: an empty config, and what to set
// of it. `name`: the type's.
template <typename Config>
void BindFields(nb::class_<Config>& type, const char* name, std::vector<const char*> fields) {
  type.def(
      "__repr__",
      [name, fields](nb::handle self) {
        std::string text;
        for (const char* field : fields)
          text += std::string(text.empty() ? "" : ", ") + field + "=" +
                  nb::repr(self.attr(field)).c_str();
        return std::string(name) + "(" + text + ")";
      },
      nb::sig("def __repr__(self) -> str"));
  type.def(
      "__reduce__",
      [fields = std::move(fields)](nb::handle self) {
        nb::dict values;
        for (const char* field : fields) values[field] = self.attr(field);
        // of a class that a user has derived
        nb::object own = nb::getattr(self, "__dict__", nb::none());
        return nb::make_tuple(self.type(), nb::tuple(), nb::make_tuple(own, values));
      },
      nb::sig("def __reduce__(self) -> tuple[object, ...]"), "For copy and pickle.");
}

}  // namespace memfabric::python
