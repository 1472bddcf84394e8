"""The types that collectd 5.12 defines, grouped by what they hold: what stands when no types.db is named.

A row is a definition and the names of the types that have it. A definition is ``SOURCES KIND MINIMUM MAXIMUM``,
several joined by `` + ``; sources of the same kind and bounds stand in one, and ``-`` is no bound.
"""

from __future__ import annotations

from typing import Final

DEFINITIONS: Final[dict[str, str]] = {
    "value derive 0 -": (
        "apache_bytes apache_requests ath_stat cache_eviction cache_operation cache_result ceph_rate commands "
        "connections contextswitch cookies cpu derive disk_ops_complex dns_answer dns_notify dns_opcode dns_qtype "
        "dns_query dns_question dns_rcode dns_reject dns_request dns_resolver dns_response dns_transfer dns_update "
        "dns_zops drbd_resource errors evicted_keys expired_keys filter_result fork_rate fscache_stat hash_collisions "
        "http_request_methods http_requests http_response_codes ib_errors ib_link_error_recovery ib_xmit_wait "
        "if_collisions if_multicast if_rx_dropped if_rx_errors if_rx_nohandler if_rx_octets if_rx_packets "
        "if_tx_dropped if_tx_errors if_tx_octets if_tx_packets invocations ipt_bytes ipt_packets irq job_stats "
        "memcached_command memcached_ops memory_bandwidth memory_throttle_count mutex_operations mysql_bpool_counters "
        "mysql_commands mysql_handler mysql_innodb_data mysql_innodb_dblwr mysql_innodb_log mysql_innodb_pages "
        "mysql_innodb_row_lock mysql_innodb_rows mysql_locks mysql_log_position mysql_select mysql_slow_queries "
        "mysql_sort mysql_sort_merge_passes mysql_sort_rows nfs_procedure nginx_requests node_stat operations packets "
        "perf pf_counters pf_limits pf_source pf_state pg_blks pg_n_tup_c pg_scan pg_xact protocol_counter "
        "redis_command_cputime slurm_backfilled_jobs slurm_cycle_depth slurm_cycle_duration slurm_cycles "
        "slurm_job_stats slurm_queue_length swap_io total_bytes total_connections total_events total_objects "
        "total_operations total_requests total_sessions total_threads total_time_in_ms total_values transitions "
        "virt_cpu_total virt_vcpu vmpage_action"
    ),
    "value gauge 0 -": (
        "arc_l2_size arc_ratio bad_peb_count blocked_clients bucket bytes capacity changes_since_last_save charge "
        "clock_last_meas clock_mode clock_reachability clock_state clock_stratum count cpufreq current_connections "
        "current_sessions delay_rate df_complex df_inodes dilution_of_precision disk_allocation disk_capacity "
        "disk_error disk_physical email_check email_count email_size fanspeed file_handles file_size files flow "
        "freepages frequency ib_rate ipc latency links max_ec md_disks memcached_connections memcached_items "
        "mysql_bpool_bytes mysql_bpool_pages nginx_connections nvme_crc_error_count nvme_critical_comp_time "
        "nvme_ctrl_busy_time nvme_data_units_read nvme_data_units_written nvme_end_to_end_error_detection_count "
        "nvme_erase_fail_count nvme_host_bytes_written nvme_host_commands_read nvme_host_commands_written "
        "nvme_media_errors nvme_nand_bytes_written nvme_num_err_log_entries nvme_pll_lock_loss_count "
        "nvme_power_cycles nvme_power_on_hours nvme_program_fail_count nvme_retry_buffer_overflow_count "
        "nvme_thermal_mgmt_temp1_total_time nvme_thermal_mgmt_temp1_transition_count "
        "nvme_thermal_mgmt_temp2_total_time nvme_thermal_mgmt_temp2_transition_count nvme_thermal_throttle_status "
        "nvme_timed_workload_media_wear nvme_timed_workload_timer nvme_unsafe_shutdowns nvme_warning_temp_time "
        "nvme_wear_leveling objects operations_per_second pending_operations pf_states pg_db_size pg_n_tup_g "
        "pg_numbackends pools pressure pubsub queue_length records requests response_code response_time route_etx "
        "route_metric routes satellites signal_quality slurm_cycle_last slurm_job_state slurm_last_cycle_depth "
        "slurm_node_state smart_badsectors smart_powercycles smart_poweron snr spam_check threads time_ref timeleft "
        "uncore_ratio vcpu volatile_changes"
    ),
    "value gauge - -": (
        "ceph_bytes ceph_latency clock_last_update current energy energy_wh gauge multimeter power root_delay "
        "root_dispersion spam_score spl tdp temperature voltage"
    ),
    "value gauge 0 65535": (
        "apache_connections apache_idle_workers apache_scoreboard ath_nodes backends ping ping_stddev ps_state "
        "segments users vcl vs_processes vs_threads"
    ),
    "rx,tx derive 0 -": (
        "ib_octets ib_packets if_dropped if_errors if_octets if_packets io_octets io_packets memcached_octets "
        "mysql_octets node_octets serial_octets"
    ),
    "value gauge 0 4294967295": (
        "bitrate conntrack dns_qtype_cached entropy ib_cap_mask tcp_connections uptime vmpage_number"
    ),
    "read,write derive 0 -": "disk_merged disk_octets disk_ops disk_time io_ops ps_disk_octets ps_disk_ops",
    "value gauge -1000000 1000000": (
        "delay frequency_error frequency_offset time_dispersion time_offset time_offset_ntp time_offset_rms"
    ),
    "value gauge 0 1": "bool cpu_affinity ping_droprate pstates_enabled sysevent turbo_enabled",
    "value gauge 0 9223372036854775807": "ps_code ps_data ps_rss ps_stacksize ps_vm vs_memory",
    "value gauge 0 100": "cache_ratio humidity nvme_avail_spare nvme_avail_spare_thresh nvme_timed_workload_host_reads",
    "value gauge 0 18446744073709551615": "buffer controller health media timestamp",
    "value gauge 0 15": "ib_phys_state ib_sm_sl ib_state nvme_endu_grp_crit_warn_sumry",
    "value gauge -300 300": "nvme_temp_sensor nvme_temperature smart_temperature",
    "value gauge 0 100.1": "percent percent_bytes percent_inodes",
    "vf_rx,vf_tx derive 0 -": "vf_bytes vf_dropped vf_packets",
    "minflt,majflt derive 0 -": "ps_pagefaults vmpage_faults",
    "value gauge - 0": "signal_noise signal_power",
    "value gauge 0 1000000": "clock_skew_ppm players",
    "value gauge 0 255": "node_rssi nvme_percent_used",
    "value gauge 0 281474976710656": "memory memory_lua",
    "value gauge 0 32767": "ib_lid ib_sm_lid",
    "vf_value derive 0 -": "vf_broadcast vf_multicast",
    "current,target,minlimit,maxlimit gauge 0 -": "arc_size",
    "current,worst,threshold gauge 0 255 + pretty gauge 0 -": "smart_attribute",
    "demand_data,demand_metadata,prefetch_data,prefetch_metadata counter 0 -": "arc_counts",
    "hits,inserts,not_cached,lowmem_prunes counter 0 - + queries_in_cache gauge 0 -": "mysql_qcache",
    "in,out derive 0 -": "vmpage_io",
    "io_time,weighted_io_time derive 0 -": "disk_io_time",
    "processes,threads gauge 0 1000000": "ps_count",
    "queries,responses derive 0 -": "dns_octets",
    "read,write counter 0 -": "arc_l2_bytes",
    "read,write gauge 0 -": "disk_latency",
    "running,connected,cached gauge 0 - + created counter 0 -": "mysql_threads",
    "seconds gauge 0 -": "duration",
    "shortterm,midterm,longterm gauge 0 5000": "load",
    "state,reason gauge 0 -": "domain_state",
    "uncompressed,compressed derive 0 -": "compression",
    "used,free gauge 0 1125899906842623": "df",
    "user,syst derive 0 -": "ps_cputime",
    "value absolute 0 -": "absolute",
    "value counter - -": "counter",
    "value counter 0 -": "dpdk_telemetry",
    "value gauge 0 1099511627776": "swap",
    "value gauge 0 1125899906842623": "cache_size",
    "value gauge 0 127": "node_tx_rate",
    "value gauge 0 2": "compression_ratio",
    "value gauge 0 31": "nvme_critical_warning",
    "value gauge 0 7": "ib_lid_mask_count",
    "value,threshold gauge - -": "voltage_threshold",
    "vf_value gauge 0 -": "vf_link_info",
}
