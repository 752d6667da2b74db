// SPDX-License-Identifier: Apache-2.0
//! From an image config to a runtime configuration. Spec: image-spec, conversion; runtime-spec, config.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::passwd::{Login, look_up};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::{IdMap, Root};
use crate::node::TreePath;
use crate::progress::Monitor;
use crate::spec::ImageConfig;
use crate::spec::runtime::{
    Capabilities, DeviceRule, Linux, Mount, Namespace, Process, Resources, Rlimit, RuntimeConfig,
    RuntimeRoot, VERSION,
};

/// `/etc/passwd` and `/etc/group` larger than this are refused.
const MAX_PASSWD: u64 = 16 * 1024 * 1024;

const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a runtime configuration depends on beside the image.
#[derive(Debug)]
pub struct RuntimeOptions<'a> {
    /// The tree whose `/etc/passwd` and `/etc/group` tell users and groups; without one, only numbers are known.
    pub rootfs: Option<&'a Root>,
    /// Name of the root file system below the bundle.
    pub root_path: String,
    /// Id maps, and whether the container is rootless.
    pub id_map: &'a IdMap,
    /// Mount options of the host's `/etc/resolv.conf` that a rootless mount of it must keep; `None` if it has none.
    pub resolv_conf: Option<Vec<String>>,
}

/// Makes the runtime configuration for an image.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for another operating system than Linux, [`ErrorKind::Invalid`] for a broken
/// environment and for what no process can have (NUL bytes), [`ErrorKind::NotFound`] for a user that the tree does not know.
pub fn runtime_config(
    image: &ImageConfig,
    opts: &RuntimeOptions<'_>,
    monitor: &dyn Monitor,
) -> Result<RuntimeConfig> {
    if image.os != "linux" {
        fail!(Unsupported, "unsupported OS: {}", image.os);
    }
    let config = &image.config;
    let login = login(&config.user, opts, monitor)?;
    let args: Vec<String> = config.entrypoint.iter().chain(&config.cmd).cloned().collect();
    if let Some(word) = args.iter().find(|word| word.contains('\0')) {
        fail!(Invalid, "the command of the image has a NUL byte: {word:?}");
    }
    let set = CAPABILITIES.map(str::to_owned).to_vec();
    let mut out = RuntimeConfig {
        oci_version: VERSION.to_owned(),
        process: Process {
            terminal: true,
            env: environment(&config.env, login.home.as_deref())?,
            user: login.user,
            args: if args.is_empty() {
                vec!["sh".to_owned()]
            } else {
                args
            },
            cwd: absolute(&config.working_dir).context(|| "image.Config.WorkingDir")?,
            capabilities: Some(Capabilities {
                bounding: set.clone(),
                effective: set.clone(),
                inheritable: set.clone(),
                permitted: set.clone(),
                ambient: set,
            }),
            rlimits: vec![Rlimit {
                kind: "RLIMIT_NOFILE".to_owned(),
                hard: 1024,
                soft: 1024,
            }],
            no_new_privileges: true,
        },
        root: RuntimeRoot {
            path: opts.root_path.clone(),
        },
        hostname: "umoci-default".to_owned(),
        mounts: default_mounts(),
        annotations: annotations(image),
        linux: default_linux(),
    };
    out.mounts.extend(volumes(config.volumes.keys(), monitor)?);
    apply_id_map(&mut out, opts, monitor);
    Ok(out)
}

fn login(spec: &str, opts: &RuntimeOptions<'_>, monitor: &dyn Monitor) -> Result<Login> {
    let Some(root) = opts.rootfs else {
        return Ok(look_up(spec, "", "").unwrap_or_else(|_| {
            monitor.warn(format_args!(
                "could not parse user spec {spec:?} without a rootfs -- defaulting to root:root"
            ));
            Login::default()
        }));
    };
    let read = |name: &str| -> Result<String> {
        let path = TreePath::clean(name.as_bytes())?;
        match root.read_file(&path, MAX_PASSWD) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            // As other tools have it, a file that cannot be opened is an empty one.
            Err(err) if err.kind() != ErrorKind::Limit => Ok(String::new()),
            Err(err) => Err(err.context(format!("read /{name} of the image"))),
        }
    };
    look_up(spec, &read("etc/passwd")?, &read("etc/group")?)
}

/// The defaults, overridden by the image in place, and HOME where nobody said otherwise.
fn environment(image: &[String], home: Option<&str>) -> Result<Vec<String>> {
    let mut env = vec![PATH.to_owned(), "TERM=xterm".to_owned()];
    // Where in it each name stands.
    let mut at = HashMap::from([("PATH", 0), ("TERM", 1)]);
    for entry in image {
        let invalid = |why| {
            Error::new(
                ErrorKind::Invalid,
                format!("parsing image.Config.Env: {why}: {entry:?}"),
            )
        };
        let (name, _) = entry.split_once('=').ok_or_else(|| invalid("must contain '='"))?;
        if name.is_empty() {
            return Err(invalid("must have non-empty name"));
        }
        if entry.contains('\0') {
            return Err(invalid("must not contain a NUL byte"));
        }
        match at.entry(name) {
            Slot::Occupied(old) => env[*old.get()].clone_from(entry),
            Slot::Vacant(new) => {
                new.insert(env.len());
                env.push(entry.clone());
            }
        }
    }
    if let Some(home) = home.filter(|h| !h.is_empty())
        && !env.iter().any(|entry| entry.starts_with("HOME="))
    {
        env.push(format!("HOME={home}"));
    }
    Ok(env)
}

/// What the image says of itself, with its labels on top.
fn annotations(image: &ImageConfig) -> BTreeMap<String, String> {
    let created = image
        .created
        .clone()
        .unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned());
    let ports: Vec<&str> = image.config.exposed_ports.keys().map(String::as_str).collect();
    let own = [
        ("os", image.os.clone()),
        ("architecture", image.architecture.clone()),
        ("variant", image.variant.clone()),
        ("author", image.author.clone()),
        ("created", created),
        ("stopSignal", image.config.stop_signal.clone()),
        ("exposedPorts", ports.join(",")),
    ];
    let own = own.into_iter().filter(|(_, value)| !value.is_empty());
    let mut out: BTreeMap<String, String> = own
        .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value))
        .collect();
    out.extend(image.config.labels.iter().map(|(k, v)| (k.clone(), v.clone())));
    out
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: source.to_owned(),
        options: options.iter().map(|&o| o.to_owned()).collect(),
    }
}

/// A path of the image as runtimes take it: absolute and clean.
fn absolute(path: &str) -> Result<String> {
    let clean = TreePath::clean(path.as_bytes())?;
    Ok(format!("/{}", String::from_utf8_lossy(clean.as_bytes())))
}

/// An empty file system at each volume, sorted by path. No container starts with one in the place of the root or of what the
/// default mounts hold.
fn volumes<'a>(paths: impl Iterator<Item = &'a String>, monitor: &dyn Monitor) -> Result<Vec<Mount>> {
    let mut clean = BTreeSet::new();
    for path in paths {
        let volume = absolute(path).context(|| "image.Config.Volumes")?;
        let is_below = |above: &str| {
            volume
                .strip_prefix(above)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        if matches!(volume.as_str(), "/" | "/proc" | "/dev") || is_below("/proc") || is_below("/sys") {
            monitor.warn(format_args!(
                "volume {path:?} left out: nothing can be mounted there"
            ));
        } else {
            clean.insert(volume);
        }
    }
    let options = ["rw", "nosuid", "nodev", "noexec", "relatime"];
    let volume = |path: String| mount(&path, "tmpfs", "none", &options);
    Ok(clean.into_iter().map(volume).collect())
}

fn default_mounts() -> Vec<Mount> {
    vec![
        mount("/proc", "proc", "proc", &[]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
    ]
}

fn default_linux() -> Linux {
    let words = |list: &[&str]| list.iter().map(|&w| w.to_owned()).collect();
    Linux {
        resources: Some(Resources {
            devices: vec![DeviceRule {
                allow: false,
                access: "rwm".to_owned(),
            }],
        }),
        namespaces: ["cgroup", "pid", "network", "ipc", "uts", "mount"]
            .map(namespace)
            .to_vec(),
        masked_paths: words(&[
            "/proc/kcore",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/sys/firmware",
            "/proc/scsi",
        ]),
        readonly_paths: words(&[
            "/proc/asound",
            "/proc/bus",
            "/proc/fs",
            "/proc/irq",
            "/proc/sys",
            "/proc/sysrq-trigger",
        ]),
        ..Linux::default()
    }
}

fn namespace(kind: &str) -> Namespace {
    Namespace {
        kind: kind.to_owned(),
    }
}

/// User namespaces, and what a container without privileges cannot have.
fn apply_id_map(out: &mut RuntimeConfig, opts: &RuntimeOptions<'_>, monitor: &dyn Monitor) {
    let map = opts.id_map;
    if !map.uids.is_empty() || !map.gids.is_empty() {
        out.linux.namespaces.push(namespace("user"));
        out.linux.uid_mappings.clone_from(&map.uids);
        out.linux.gid_mappings.clone_from(&map.gids);
    }
    if !map.rootless {
        return;
    }
    out.process.user.additional_gids.clear();
    out.linux.namespaces.retain(|n| n.kind != "network");
    out.linux.resources = None;
    out.mounts.retain(|m| !m.destination.starts_with("/sys"));
    for mount in &mut out.mounts {
        mount
            .options
            .retain(|o| !o.starts_with("gid=") && !o.starts_with("uid="));
    }
    out.mounts.push(mount(
        "/sys",
        "bind",
        "/sys",
        &["rbind", "nosuid", "noexec", "nodev", "ro"],
    ));
    match &opts.resolv_conf {
        Some(locked) => {
            let options: Vec<&str> = locked.iter().map(String::as_str).chain(["rbind", "ro"]).collect();
            out.mounts
                .push(mount("/etc/resolv.conf", "bind", "/etc/resolv.conf", &options));
        }
        None => monitor.warn(format_args!(
            "rootless: the host has no /etc/resolv.conf to mount"
        )),
    }
}

/// The mount flags of the host's `/etc/resolv.conf` that a rootless mount of it cannot lift; `None` if there is no
/// such file.
pub fn resolv_conf() -> Result<Option<Vec<String>>> {
    use rustix::fs::StatVfsMountFlags as Flags;
    let flags = match rustix::fs::statvfs("/etc/resolv.conf") {
        Ok(stat) => stat.f_flag,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(err) => return Err(err).context(|| "statfs /etc/resolv.conf"),
    };
    let names = [
        (Flags::RDONLY, "ro"),
        (Flags::NODEV, "nodev"),
        (Flags::NOEXEC, "noexec"),
        (Flags::NOSUID, "nosuid"),
        (Flags::NOATIME, "noatime"),
        (Flags::RELATIME, "relatime"),
        (Flags::NODIRATIME, "nodiratime"),
    ];
    Ok(Some(
        names
            .iter()
            .filter(|(flag, _)| flags.contains(*flag))
            .map(|(_, name)| (*name).to_owned())
            .collect(),
    ))
}
