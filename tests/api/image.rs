//! The image of deploy/Dockerfile without a registry: what its last stage says is done to a root file system that has what the base image
//! has, of this Debian, and the program runs in it with bubblewrap as it would in a container.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use tokio::process::{Child, Command};

use crate::{
    harness::{signed_in, soon},
    program::started_with_lines,
};

const DOCKERFILE: &str = include_str!("../../deploy/Dockerfile");

/// What the base image sets.
const BASE_VARIABLES: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/home/nonroot")];

/// The last stage of the Dockerfile.
#[derive(Debug, Default)]
struct Image {
    base: String,
    /// The path in the stage before, the path in the image, and the owner.
    copies: Vec<(String, String, u32)>,
    user: String,
    folder: String,
    volume: String,
    variables: Vec<(String, String)>,
    health: Vec<String>,
    entrypoint: Vec<String>,
    arguments: Vec<String>,
}

impl Image {
    fn read() -> Self {
        let joined = DOCKERFILE.replace("\\\n", " ");
        let mut image = Self::default();
        for line in joined.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (instruction, rest) = line.split_once(' ').unwrap();
            // A command that a shell would have to run is none of these lists.
            let list = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| panic!("{line}"));
            match instruction {
                "FROM" => image = Self { base: rest.into(), ..Self::default() },
                // Of an earlier stage.
                _ if image.base.contains(" AS ") => {}
                "COPY" => {
                    let (flags, paths): (Vec<_>, Vec<_>) =
                        rest.split_whitespace().partition(|word| word.starts_with("--"));
                    let owner = flags.iter().find_map(|flag| flag.strip_prefix("--chown="));
                    let owner = owner.map_or(0, |owner| owner.split(':').next().unwrap().parse().unwrap());
                    assert!(flags.contains(&"--from=program"), "{line}");
                    let [from, to] = paths[..] else { panic!("{line}") };
                    image.copies.push((from.into(), to.into(), owner));
                }
                "USER" => image.user = rest.into(),
                "WORKDIR" => image.folder = rest.into(),
                "VOLUME" => image.volume = rest.into(),
                "EXPOSE" => assert_eq!(rest, "8000"),
                "ENV" => {
                    let variables = rest.split(' ').map(|variable| variable.split_once('=').unwrap());
                    image.variables.extend(variables.map(|(name, value)| (name.into(), value.into())));
                }
                "HEALTHCHECK" => image.health = list(rest.split_once(" CMD ").unwrap().1),
                "ENTRYPOINT" => image.entrypoint = list(rest),
                "CMD" => image.arguments = list(rest),
                _ => panic!("this test does not know {instruction}: {line}"),
            }
        }
        let variables = BASE_VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned()));
        image.variables.extend(variables);
        image
    }

    /// The root file system, in a folder.
    async fn root(&self) -> tempfile::TempDir {
        assert_eq!(self.base, "gcr.io/distroless/cc-debian12:nonroot");
        assert!(DOCKERFILE.contains("\nFROM rust:1-bookworm AS program\n"), "the glibc of another Debian");
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let within = |path: &str| root.path().join(path.trim_start_matches('/'));
        for folder in ["dev", "etc/ssl/certs", "home/nonroot", "proc", "tmp", "usr/local/bin", "var/lib"] {
            fs::create_dir_all(within(folder)).unwrap();
        }
        let certificates = "etc/ssl/certs/ca-certificates.crt";
        fs::copy(Path::new("/").join(certificates), within(certificates)).unwrap();
        let users = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";
        fs::write(within("etc/passwd"), users).unwrap();
        fs::write(within("etc/group"), "root:x:0:\nnonroot:x:65532:\n").unwrap();
        fs::write(within("etc/nsswitch.conf"), "hosts: files dns\n").unwrap();
        // This one is by what runs containers.
        fs::write(within("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n").unwrap();

        // Not what the program is linked with, but what the base has.
        let mut list = Command::new("dpkg-query");
        let listed = soon(list.args(["--listfiles", "libc6", "libgcc-s1"]).output()).await.unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let is_library = |path: &&str| path.contains(".so") && !path.contains("gconv") && Path::new(path).is_file();
        let libraries: Vec<&str> = listed.lines().filter(is_library).collect();
        let mut copy = Command::new("cp");
        copy.args(["--archive", "--parents"]).args(libraries).arg(root.path()).current_dir("/");
        assert!(soon(copy.status()).await.unwrap().success());
        for folder in ["lib", "lib64"] {
            if !within(folder).exists() {
                symlink(Path::new("usr").join(folder), within(folder)).unwrap();
            }
        }

        for (from, to, owner) in &self.copies {
            if from == "/usr/local/bin/duologue" {
                fs::copy(env!("CARGO_BIN_EXE_duologue"), within(to)).unwrap();
            } else if from == "/licenses" {
                // Texts, which nothing here reads. cargo-about, which writes one of them, is not run.
                assert!(DOCKERFILE.contains(&format!(" --output-file {from}/THIRD-PARTY-LICENSES.md ")));
                fs::create_dir_all(within(to)).unwrap();
            } else {
                // Made empty in the stage before.
                assert!(DOCKERFILE.contains(&format!("\nRUN mkdir {from}\n")), "{from}");
                fs::create_dir(within(to)).unwrap();
            }
            chown(within(to), Some(*owner), Some(*owner)).unwrap();
        }
        root
    }

    fn user(&self) -> [String; 2] {
        let (user, group) = self.user.split_once(':').unwrap();
        [user.to_owned(), group.to_owned()]
    }

    /// Runs the server with a root that cannot be written to, but for the volume.
    async fn starts(&self, root: &Path) -> Child {
        let [user, group] = self.user();
        let mut container = Command::new("/usr/bin/setpriv");
        container.args(["--reuid", &user, "--regid", &group, "--clear-groups", "bwrap"]);
        // The server is the first process, and has nothing but a loopback interface.
        container.args(["--unshare-all", "--as-pid-1", "--die-with-parent", "--clearenv"]);
        container.arg("--ro-bind").arg(root).args(["/", "--proc", "/proc", "--dev", "/dev"]);
        let volume = root.join(self.volume.trim_start_matches('/'));
        container.arg("--bind").arg(volume).args([&self.volume, "--chdir", &self.folder]);
        for (name, value) in &self.variables {
            container.args(["--setenv", name, value]);
        }
        container.arg("--").args(&self.entrypoint).args(&self.arguments).kill_on_drop(true);
        let (child, lines) = started_with_lines(container).await;
        assert!(lines[1].contains(&format!("{}/duologue.db", self.folder)), "{lines:?}");
        child
    }

    /// Runs a command beside the server.
    async fn runs(&self, server: &str, command: &[String]) -> std::process::Output {
        let [user, group] = self.user();
        let mut beside = Command::new("/usr/bin/nsenter");
        beside.args(["--target", server, "--wd", "--mount", "--net", "--pid", "--setuid", &user, "--setgid", &group]);
        beside.arg("--").args(command).env_clear().envs(self.variables.iter().cloned());
        soon(beside.output()).await.unwrap()
    }
}

/// The process of the server, outside of its container.
fn process(container: &Child) -> String {
    let id = container.id().unwrap();
    fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap().trim().to_owned()
}

/// What bubblewrap says when it cannot make a container: in another container the kernel usually lets nobody do so.
async fn hindrance(image: &Image) -> Option<String> {
    let [user, group] = image.user();
    let mut container = Command::new("/usr/bin/setpriv");
    container.args(["--reuid", &user, "--regid", &group, "--clear-groups", "bwrap", "--unshare-all"]);
    let output = soon(container.args(["--ro-bind", "/", "/", "/bin/true"]).output()).await.unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_runs_in_its_image_as_nobody_with_a_root_that_it_cannot_write_to() {
    if signed_in() || std::env::var_os("DUOLOGUE_TEST_WITHOUT_BWRAP").is_some() {
        return;
    }
    let image = Image::read();
    assert!(image.user == "65532:65532" && image.folder == image.volume, "{image:?}");
    assert_eq!(image.entrypoint[0], image.health[0]);
    assert!(image.copies.contains(&("/licenses".into(), "/usr/share/doc/duologue".into(), 0)), "{image:?}");
    // Other arguments do not open it to everybody.
    assert!(image.variables.contains(&("DUOLOGUE_AUTH".into(), "jwt".into())));
    let hindrance = hindrance(&image).await;
    assert_eq!(hindrance, None, "bubblewrap must make containers, or DUOLOGUE_TEST_WITHOUT_BWRAP be set");
    let root = image.root().await;
    let state: PathBuf = root.path().join(image.folder.trim_start_matches('/'));
    let own = |command: &[&str]| -> Vec<String> {
        image.entrypoint.iter().cloned().chain(command.iter().map(ToString::to_string)).collect()
    };
    // The second time with the volume of the first.
    for _ in 0..2 {
        let mut container = image.starts(root.path()).await;
        let server = process(&container);
        let health = image.runs(&server, &image.health).await;
        assert!(health.status.success(), "{health:?}");
        let made = image.runs(&server, &own(&["admin", "users"])).await;
        assert!(made.status.success(), "{made:?}");
        let elsewhere = image.runs(&server, &own(&["man", "/tmp"])).await;
        assert!(String::from_utf8_lossy(&elsewhere.stderr).contains("Read-only"), "{elsewhere:?}");
        let mut kill = Command::new("kill");
        assert!(soon(kill.args(["-TERM", &server]).status()).await.unwrap().success());
        assert_eq!(soon(container.wait()).await.unwrap().code(), Some(0));
    }
    let files: Vec<_> = fs::read_dir(&state).unwrap().map(Result::unwrap).collect();
    let mut names: Vec<_> = files.iter().map(|file| file.file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["duologue.db", "duologue.key"]);
    for file in files {
        let metadata = file.metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (65_532, 0o600), "{:?}", file.file_name());
    }
}
