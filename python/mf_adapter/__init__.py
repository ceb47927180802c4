"""Another name for a part of memfabric_hybrid, for programs that import it by this one."""

from memfabric_hybrid import TransferEngine, create_config_store, set_conf_store_tls, set_log_level

__all__ = ["TransferEngine", "create_config_store", "set_conf_store_tls", "set_log_level"]
