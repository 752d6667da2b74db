// SPDX-License-Identifier: Apache-2.0
//! From an image config to a runtime configuration. Spec: image-spec, conversion; runtime-spec, config.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::passwd::{Login, look_up};
use crate::error::{ErrorKind, Result, ResultExt};
use crate::fs::{IdMap, Root};
use crate::node::TreePath;
use crate::progress::Monitor;
use crate::spec::runtime::{Mount, Namespace, RuntimeConfig};
use crate::spec::{ImageConfig, json};

/// The configuration of a container of which the image says nothing.
const DEFAULT: &str = include_str!("default_config.json");

/// Maximum size of `/etc/passwd` and `/etc/group`, in bytes.
const MAX_PASSWD: u64 = 16 * 1024 * 1024;

/// Makes the runtime configuration for an image.
///
/// `rootfs` is the tree whose `/etc/passwd` and `/etc/group` tell users and groups; without one, only numbers are known.
/// `root_path` is the name of the root file system below the bundle. Of the host only the mount of `/etc/resolv.conf` is looked
/// at, for a rootless container.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for another operating system than Linux, [`ErrorKind::Invalid`] for a broken
/// environment and for what no process can have (NUL bytes), [`ErrorKind::NotFound`] for a user that the tree does not know.
pub fn runtime_config(
    image: &ImageConfig,
    rootfs: Option<&Root>,
    root_path: &str,
    id_map: &IdMap,
    monitor: &dyn Monitor,
) -> Result<RuntimeConfig> {
    if image.os != "linux" {
        fail!(Unsupported, "unsupported OS: {}", image.os);
    }
    let config = &image.config;
    let login = login(&config.user, rootfs, monitor)?;
    let mut out: RuntimeConfig = json::parse(DEFAULT.as_bytes())?;
    let process = &mut out.process;
    let args: Vec<String> = config.entrypoint.iter().chain(&config.cmd).cloned().collect();
    if let Some(word) = args.iter().find(|word| word.contains('\0')) {
        fail!(Invalid, "the command of the image has a NUL byte: {word:?}");
    }
    if !args.is_empty() {
        process.args = args;
    }
    set_environment(&mut process.env, &config.env, login.home.as_deref())?;
    process.user = login.user;
    process.cwd = absolute(&config.working_dir).context(|| "image.Config.WorkingDir")?;
    root_path.clone_into(&mut out.root.path);
    out.annotations = annotations(image);
    out.mounts.extend(volumes(config.volumes.keys(), monitor)?);
    apply_id_map(&mut out, id_map, monitor)?;
    Ok(out)
}

fn login(spec: &str, rootfs: Option<&Root>, monitor: &dyn Monitor) -> Result<Login> {
    if let Some(root) = rootfs {
        let passwd = read_text(root, "etc/passwd")?;
        return look_up(spec, &passwd, &read_text(root, "etc/group")?);
    }
    // Without a tree names say nothing; the configuration is still of use to whoever sets the user himself.
    Ok(look_up(spec, "", "").unwrap_or_else(|_| {
        monitor.warn(format_args!(
            "could not parse user spec {spec:?} without a rootfs -- defaulting to root:root"
        ));
        Login::default()
    }))
}

/// Reads a file of the tree. As other tools have it, one that cannot be opened is empty.
fn read_text(root: &Root, name: &str) -> Result<String> {
    match root.read_file(&TreePath::clean(name.as_bytes())?, MAX_PASSWD) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(err) if err.kind() != ErrorKind::Limit => Ok(String::new()),
        Err(err) => Err(err.context(format!("read /{name} of the image"))),
    }
}

/// Adds the variables of the image, each in the place of one of its name, and HOME if there is none.
fn set_environment(env: &mut Vec<String>, image: &[String], home: Option<&str>) -> Result<()> {
    // A map, since an image may have variables without number, and a search for each would grow with the square.
    let mut places = HashMap::new();
    for (place, entry) in env.iter().enumerate() {
        places.insert(name_of(entry).to_owned(), place);
    }
    for entry in image {
        let fault = match name_of(entry) {
            name if name.len() == entry.len() => "must contain '='",
            "" => "must have non-empty name",
            _ if entry.contains('\0') => "must not contain a NUL byte",
            name => {
                match places.entry(name.to_owned()) {
                    Slot::Occupied(old) => env[*old.get()].clone_from(entry),
                    Slot::Vacant(new) => {
                        new.insert(env.len());
                        env.push(entry.clone());
                    }
                }
                continue;
            }
        };
        fail!(Invalid, "parsing image.Config.Env: {fault}: {entry:?}");
    }
    if let Some(home) = home.filter(|home| !home.is_empty())
        && !places.contains_key("HOME")
    {
        env.push(format!("HOME={home}"));
    }
    Ok(())
}

/// Returns the name before the `=` of a variable; all of it where there is none.
fn name_of(variable: &str) -> &str {
    variable.split('=').next().unwrap_or_default()
}

/// Returns the fields that describe the image, with its labels on top.
fn annotations(image: &ImageConfig) -> BTreeMap<String, String> {
    let created = image.created.clone();
    let created = created.unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned());
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

/// Returns a path of the image as runtimes take it: absolute and clean.
fn absolute(path: &str) -> Result<String> {
    let clean = TreePath::clean(path.as_bytes())?;
    Ok(format!("/{}", String::from_utf8_lossy(clean.as_bytes())))
}

/// Returns an empty file system at each volume, sorted by path. No container starts with one in the place of the root or of what
/// the default mounts hold.
fn volumes<'a>(paths: impl Iterator<Item = &'a String>, monitor: &dyn Monitor) -> Result<Vec<Mount>> {
    // Two spellings of one path would be two mounts over each other.
    let mut clean = BTreeSet::new();
    for path in paths {
        let volume = absolute(path).context(|| "image.Config.Volumes")?;
        if matches!(volume.as_str(), "/" | "/proc" | "/dev")
            || volume.starts_with("/proc/")
            || volume.starts_with("/sys/")
        {
            monitor.warn(format_args!(
                "volume {path:?} left out: nothing can be mounted there"
            ));
        } else {
            clean.insert(volume);
        }
    }
    Ok(clean.iter().map(|path| volume(path)).collect())
}

/// Returns the mount of a volume.
fn volume(path: &str) -> Mount {
    let options = ["rw", "nosuid", "nodev", "noexec", "relatime"];
    mount(path, "tmpfs", "none", &options)
}

/// Returns the volumes of the image that a runtime configuration was made for: the places of mounts as [`runtime_config`] makes them.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for what is no such document.
pub(super) fn volumes_of(config: &[u8]) -> Result<Vec<String>> {
    // No more of it is read than that: it is there to be edited.
    #[derive(serde::Deserialize)]
    struct Mounts {
        #[serde(default)]
        mounts: Vec<serde_json::Value>,
    }
    let found = json::parse::<Mounts>(config)?.mounts.into_iter();
    let found = found.filter_map(|found| serde_json::from_value::<Mount>(found).ok());
    let volumes = found.filter(|found| *found == volume(&found.destination));
    Ok(volumes.map(|found| found.destination).collect())
}

/// User namespaces, and what a container without privileges cannot have.
fn apply_id_map(out: &mut RuntimeConfig, map: &IdMap, monitor: &dyn Monitor) -> Result<()> {
    if !map.uids.is_empty() || !map.gids.is_empty() {
        out.linux.namespaces.push(Namespace {
            kind: "user".to_owned(),
        });
        out.linux.uid_mappings.clone_from(&map.uids);
        out.linux.gid_mappings.clone_from(&map.gids);
    }
    if !map.rootless {
        return Ok(());
    }
    // Without privileges setgroups(2) is refused, and a mount may name no id that is not mapped.
    out.process.user.additional_gids.clear();
    // Nor may a plain user mount sysfs without a network namespace of his own, or set cgroups.
    out.linux.namespaces.retain(|n| n.kind != "network");
    out.linux.resources = None;
    out.mounts.retain(|m| !m.destination.starts_with("/sys"));
    for mount in &mut out.mounts {
        let options = &mut mount.options;
        options.retain(|o| !o.starts_with("gid=") && !o.starts_with("uid="));
    }
    let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
    out.mounts.push(mount("/sys", "bind", "/sys", &options));
    // Without a network namespace the container resolves names as the host does.
    match resolv_conf()? {
        Some(locked) => {
            let options: Vec<&str> = locked.into_iter().chain(["rbind", "ro"]).collect();
            out.mounts
                .push(mount("/etc/resolv.conf", "bind", "/etc/resolv.conf", &options));
        }
        None => monitor.warn(format_args!(
            "rootless: the host has no /etc/resolv.conf to mount"
        )),
    }
    Ok(())
}

/// Returns the mount flags of the host's `/etc/resolv.conf`; `None` if there is no such file. They are locked in a user
/// namespace: the kernel refuses a mount that lacks one of them.
fn resolv_conf() -> Result<Option<Vec<&'static str>>> {
    use rustix::fs::StatVfsMountFlags as Flags;
    let found = rustix::fs::statvfs("/etc/resolv.conf").context(|| "statfs /etc/resolv.conf");
    let Some(found) = found.if_there()? else {
        return Ok(None);
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
    let set = names.into_iter().filter(|(flag, _)| found.f_flag.contains(*flag));
    Ok(Some(set.map(|(_, name)| name).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_configuration_is_of_the_version_that_is_announced() {
        let config: RuntimeConfig = json::parse(DEFAULT.as_bytes()).expect("JSON");
        assert_eq!(config.oci_version, crate::spec::runtime::VERSION);
    }
}
