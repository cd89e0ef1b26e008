"""System calls by name, as data: the default filter and the named sets that isolators may use.

Sets are texts of names and of other sets; nobody pays for splitting a set that is not asked for.
Names a kernel or libseccomp does not know are skipped when a filter is built.
"""

from __future__ import annotations

# What any app may call: nothing here reaches beyond its namespaces or needs a privilege.
ALLOWED = (
    "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime "
    "clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep "
    "clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 "
    "epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit "
    "exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 "
    "fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr file_getattr flistxattr flock fork fremovexattr "
    "fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 "
    "futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 "
    "getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp "
    "getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid "
    "getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init "
    "inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup "
    "io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self "
    "lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr _llseek lremovexattr "
    "lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat "
    "mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive "
    "mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync "
    "munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open "
    "pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv "
    "preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 "
    "pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg "
    "remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq "
    "rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait "
    "rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity "
    "sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 "
    "sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop "
    "semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area "
    "set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid "
    "setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid "
    "setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 "
    "sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat "
    "sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime "
    "timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime "
    "timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime "
    "utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev"
)

# Allowed besides on these architectures (image labels).
ALLOWED_ON = {
    "amd64": "arch_prctl modify_ldt",
    "i386": "modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    "armv6l": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    "armv7l": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    "ppc64le": "swapcontext sync_file_range2",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    "riscv64": "riscv_flush_icache",
}

# Allowed to an app that retains the capability, refused with EPERM to all others.
ALLOWED_WITH = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": (
        "bpf fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules "
        "lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd "
        "setdomainname sethostname setns syslog umount umount2 unshare"
    ),
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}

# Refused with EPERM whatever the capabilities: keyrings are not namespaced, io_uring escapes filters, the rest
# is the host's business. Calls in no list at all get ENOSYS, so that programs fall back to older ones.
REFUSED = (
    "add_key io_uring_enter io_uring_register io_uring_setup kexec_file_load kexec_load keyctl migrate_pages "
    "move_pages pivot_root request_key swapoff swapon userfaultfd"
)

# Calls on top of a remove-set: no app of a pod can use them to any good.
ALWAYS_REMOVED = (
    "create_module delete_module finit_module init_module ioperm iopl kexec_file_load kexec_load nfsservctl "
    "open_by_handle_at reboot swapoff swapon"
)

# Names that are no misspelling although no set has them.
OTHERS = (
    "arc_gettls arc_settls arc_usr_cmpxchg atomic_barrier atomic_cmpxchg_32 cachectl clone3 file_setattr getdomainname "
    "getdtablesize gethostname getpagesize listns multiplexer oldumount open_tree_attr or1k_atomic query_module "
    "riscv_flush_icache s390_guarded_storage s390_sthyi setpgrp spu_create spu_run syscall sysmips utrap_install"
)

# What engines of the time refused, as rkt named it.
_ENGINE_BLACKLIST = (
    "acct add_key adjtimex bpf clock_adjtime clock_settime create_module delete_module finit_module get_kernel_syms "
    "get_mempolicy init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind mount "
    "move_pages name_to_handle_at nfsservctl open_by_handle_at perf_event_open pivot_root process_vm_readv "
    "process_vm_writev ptrace query_module quotactl reboot request_key set_mempolicy setns settimeofday stime swapoff "
    "swapon sysfs _sysctl umount umount2 unshare uselib userfaultfd ustat vm86 vm86old"
)

# The named sets, without their "@". Members beginning with "@" are other sets.
SETS = {
    "docker/default-blacklist": _ENGINE_BLACKLIST,
    "rkt/default-blacklist": _ENGINE_BLACKLIST,
    # "docker/default-whitelist" and "rkt/default-whitelist" are the default filter's calls (seccomp.py).
    "systemd/default-whitelist": "@systemd/default",
    "systemd/default": (
        "arch_prctl brk cacheflush clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep "
        "clock_nanosleep_time64 execve exit exit_group futex futex_time64 futex_waitv get_robust_list get_thread_area "
        "getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid "
        "getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getsid gettid gettimeofday getuid getuid32 "
        "membarrier mmap mmap2 mprotect munmap nanosleep pause prlimit64 restart_syscall riscv_flush_icache "
        "riscv_hwprobe rseq rt_sigreturn sched_getaffinity sched_yield set_robust_list set_thread_area set_tid_address "
        "set_tls sigreturn time ugetrlimit uretprobe"
    ),
    "systemd/aio": (
        "io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit io_uring_enter "
        "io_uring_register io_uring_setup"
    ),
    "systemd/basic-io": (
        "_llseek close close_range dup dup2 dup3 lseek pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readv "
        "write writev"
    ),
    "systemd/chown": "chown chown32 fchown fchown32 fchownat lchown lchown32",
    "systemd/clock": "adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 settimeofday",
    "systemd/cpu-emulation": "modify_ldt subpage_prot switch_endian vm86 vm86old",
    "systemd/debug": "lookup_dcookie perf_event_open pidfd_getfd ptrace rtas s390_runtime_instr sys_debug_setcontext",
    "systemd/file-system": (
        "access chdir chmod close creat faccessat faccessat2 fallocate fchdir fchmod fchmodat fchmodat2 fcntl fcntl64 "
        "fgetxattr flistxattr fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 ftruncate ftruncate64 "
        "futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch "
        "lgetxattr link linkat listxattr llistxattr lremovexattr lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat "
        "newfstatat oldfstat oldlstat oldstat open openat openat2 readlink readlinkat removexattr rename renameat "
        "renameat2 rmdir setxattr stat stat64 statfs statfs64 statx symlink symlinkat truncate truncate64 unlink "
        "unlinkat utime utimensat utimensat_time64 utimes"
    ),
    "systemd/io-event": (
        "_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait "
        "epoll_wait_old eventfd eventfd2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select"
    ),
    "systemd/ipc": (
        "ipc memfd_create mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend "
        "mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd pipe pipe2 process_madvise process_vm_readv "
        "process_vm_writev semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget"
    ),
    "systemd/keyring": "add_key keyctl request_key",
    "systemd/memlock": "mlock mlock2 mlockall munlock munlockall",
    "systemd/module": "delete_module finit_module init_module",
    "systemd/mount": (
        "chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root umount umount2"
    ),
    "systemd/network-io": (
        "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 "
        "recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socket socketcall socketpair"
    ),
    "systemd/obsolete": (
        "_sysctl afs_syscall bdflush break create_module ftime get_kernel_syms getpmsg gtty idle lock mpx prof profil "
        "putpmsg query_module security sgetmask ssetmask stime stty sysfs tuxcall ulimit uselib ustat vserver"
    ),
    "systemd/pkey": "pkey_alloc pkey_free pkey_mprotect",
    "systemd/privileged": (
        "@systemd/chown @systemd/clock @systemd/module @systemd/raw-io @systemd/reboot @systemd/swap _sysctl acct bpf "
        "capset chroot fanotify_init fanotify_mark nfsservctl open_by_handle_at pivot_root quotactl quotactl_fd "
        "setdomainname setfsuid setfsuid32 setgroups setgroups32 sethostname setresuid setresuid32 setreuid setreuid32 "
        "setuid setuid32 vhangup"
    ),
    "systemd/process": (
        "capget clone clone3 execveat fork getrusage kill pidfd_open pidfd_send_signal prctl rt_sigqueueinfo "
        "rt_tgsigqueueinfo setns swapcontext tgkill times tkill unshare vfork wait4 waitid waitpid"
    ),
    "systemd/raw-io": (
        "ioperm iopl pciconfig_iobase pciconfig_read pciconfig_write s390_pci_mmio_read s390_pci_mmio_write"
    ),
    "systemd/reboot": "kexec_file_load kexec_load reboot",
    "systemd/resources": (
        "ioprio_set mbind migrate_pages move_pages nice sched_setaffinity sched_setattr sched_setparam "
        "sched_setscheduler set_mempolicy set_mempolicy_home_node setpriority setrlimit"
    ),
    "systemd/setuid": (
        "setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 "
        "setreuid setreuid32 setuid setuid32"
    ),
    "systemd/signal": (
        "rt_sigaction rt_sigpending rt_sigprocmask rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 sigaction "
        "sigaltstack signal signalfd signalfd4 sigpending sigprocmask sigsuspend"
    ),
    "systemd/swap": "swapoff swapon",
    "systemd/sync": "fdatasync fsync msync sync sync_file_range sync_file_range2 syncfs",
    "systemd/system-service": (
        "@systemd/aio @systemd/basic-io @systemd/chown @systemd/default @systemd/file-system @systemd/io-event "
        "@systemd/ipc @systemd/keyring @systemd/memlock @systemd/network-io @systemd/process @systemd/resources "
        "@systemd/setuid @systemd/signal @systemd/sync @systemd/timer arm_fadvise64_64 capget capset copy_file_range "
        "fadvise64 fadvise64_64 flock get_mempolicy getcpu getpriority ioctl ioprio_get kcmp madvise mremap "
        "name_to_handle_at oldolduname olduname personality readahead readdir remap_file_pages sched_get_priority_max "
        "sched_get_priority_min sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval "
        "sched_rr_get_interval_time64 sched_yield sendfile sendfile64 setfsgid setfsgid32 setfsuid setfsuid32 setpgid "
        "setsid splice sysinfo tee umask uname userfaultfd vmsplice"
    ),
    "systemd/timer": (
        "alarm getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 "
        "timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime "
        "timerfd_settime64 times"
    ),
}
