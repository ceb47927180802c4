#include "bm_config.h"

#include <nanobind/stl/string.h>

#include <cstring>

#include "nic.h"

namespace memfabric::python {

BmConfig::BmConfig() {
  smem_bm_config_t config;
  smem_bm_config_init(&config);
  init_timeout = config.initTimeout;
  create_timeout = config.createTimeout;
  operation_timeout = config.controlOperationTimeout;
  start_store = config.startConfigStoreServer;
  start_store_only = config.startConfigStoreOnly;
  dynamic_world_size = config.dynamicWorldSize;
  unified_address_space = config.unifiedAddressSpace;
  auto_ranking = config.autoRanking;
  rank_id = config.rankId;
  flags = config.flags;
  data_tls = config.hcomTlsConfig.tlsEnable;
}

smem_bm_config_t BmConfig::ToC() const {
  smem_bm_config_t config;
  smem_bm_config_init(&config);
  config.initTimeout = FieldToC(init_timeout, "init_timeout");
  config.createTimeout = FieldToC(create_timeout, "create_timeout");
  config.controlOperationTimeout = FieldToC(operation_timeout, "operation_timeout");
  config.startConfigStoreServer = start_store;
  config.startConfigStoreOnly = start_store_only;
  config.dynamicWorldSize = dynamic_world_size;
  config.unifiedAddressSpace = unified_address_space;
  config.autoRanking = auto_ranking;
  config.rankId = FieldToC(rank_id, "rank_id");
  config.flags = FieldToC(flags, "flags");
  config.hcomTlsConfig.tlsEnable = data_tls;
  std::memcpy(config.hcomUrl, nic.c_str(), nic.size() + 1);  // NicError limits its length
  return config;
}

void BmConfig::SetNic(OptionalStr text) {
  if (std::string error = NicError(text); !error.empty()) throw nb::value_error(error.c_str());
  nic = text.text;
}

void BindBmConfig(nb::module_& module) {
  nb::class_<BmConfig> type(module, "BmConfig", nb::is_weak_referenceable(),
                            R"(Settings of initialize().

Attributes take ints and bools; anything else raises TypeError. A number out of range is
INVALID_PARAM from initialize().)");
  type.def(nb::init<>(), "A config with the values that each attribute names.");
  BindIntField<&BmConfig::init_timeout>(
      type, "init_timeout", "Seconds that initialize() may take, 1 to 4294967295. At first 120.");
  BindIntField<&BmConfig::create_timeout>(
      type, "create_timeout", "Seconds that create() may take, 1 to 4294967295. At first 120.");
  BindIntField<&BmConfig::operation_timeout>(
      type, "operation_timeout",
      "Seconds that join(), leave(), wait() and the like may take, 1 to 4294967295. At first 120.");
  BindFlagField<&BmConfig::start_store>(type, "start_store",
                                        R"(Whether rank 0 serves the store. At first True.

Where ranks are assigned it is the first process on the store's host that binds the port.)");
  BindFlagField<&BmConfig::start_store_only>(
      type, "start_store_only",
      "True: initialize() starts the store and returns, and create() fails. At first False.");
  BindFlagField<&BmConfig::dynamic_world_size>(
      type, "dynamic_world_size",
      R"(True: world_size may differ between ranks. At first False.

The pool's is then the first creator's. Either way world_size is a capacity: ranks come and go in
any order, and nothing waits for all of them.)");
  BindFlagField<&BmConfig::unified_address_space>(
      type, "unified_address_space",
      "Must be True: every process sees a pool at the same addresses. At first True.");
  BindFlagField<&BmConfig::auto_ranking>(
      type, "auto_ranking",
      "True: a rank is assigned, the lowest free one; rank_id is ignored. At first False.");
  BindIntField<&BmConfig::rank_id>(type, "rank_id",
                                   "This process's rank, below world_size. At first 65535: a rank "
                                   "is assigned.");
  BindIntField<&BmConfig::flags>(type, "flags", "Reserved. At first 0.");
  BindFlagField<&BmConfig::data_tls>(
      type, "data_tls",
      R"(True: what goes between hosts is encrypted, by TLS 1.3. At first False.

The keys come from the store. All ranks of a pool must say the same. The store must use TLS
    (set_conf_store_tls), or initialize()
fails: whoever can read the store's traffic can read the keys. The environment variable
MEMFABRIC_DATA_TLS=1 encrypts with any store.)");
  type.def_prop_rw(
      "nic", [](const BmConfig& config) { return config.nic; }, &BmConfig::SetNic,
      nb::for_getter(nb::sig("def nic(self) -> str")),
      nb::for_setter(nb::sig("def nic(self, nic: str | bytes | None, /) -> None")),
      nb::for_setter(nb::arg("nic").none()),
      "What set_nic() was given; '' at first. Setting it does what set_nic() does.");
  type.def("set_nic", &BmConfig::SetNic, nb::arg("nic").none(),
           nb::sig("def set_nic(self, nic: str | bytes | None) -> None"),
           R"(Chooses the network interface that the data plane listens at.

nic: 'tcp://ip:port', 'tcp://ip/maskbits:port' (the interface in that network) or an interface's
    name, in at most 63 bytes; or several of them with commas between, of which the first that
    exists is used. The addresses 0.0.0.0 and [::], with any mask, the empty string and None leave
    the choice to the library.
A port is the first of a range, so that all ranks of a host may be given the same: rank r listens at
port + r. If that is taken, it listens at the next free port from port + world_size on. Port 0, or
none: the kernel's choice.
Raises ValueError when `nic` is longer or malformed.)");
  BindFields(type, "BmConfig",
             {"init_timeout", "create_timeout", "operation_timeout", "start_store",
              "start_store_only", "dynamic_world_size", "unified_address_space", "auto_ranking",
              "rank_id", "flags", "nic", "data_tls"});
}

}  // namespace memfabric::python
