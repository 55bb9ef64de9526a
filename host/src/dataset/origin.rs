//! Where pictures come from: the set they were read from, and the domains it tells apart.

use std::path::{Component, Path, PathBuf};

use super::{Dataset, Sample};

/// A set that a data set was read from, for model cards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its name.
    pub name: String,
    /// What its data file says of the licence.
    pub licence: Option<String>,
    /// How its data file wants to be cited.
    pub citation: Option<String>,
    /// Pictures of train, val and test as they were read.
    pub pictures: [usize; 3],
    /// Microscopes, cameras, stains or sites that its data file tells apart.
    pub domains: Vec<Domain>,
}

/// Pictures taken alike, as the key `domains` of a data YAML names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Beginnings of the paths of its pictures, as absolute as the data file's own.
    pub prefixes: Vec<PathBuf>,
}

impl Domain {
    /// Whether a picture's path begins like one of the domain's: by characters, so that
    /// `images/test/phone_` takes `images/test/phone_7.png`.
    pub fn contains(&self, image: &Path) -> bool {
        let image = plain(image);
        let image = image.as_os_str().as_encoded_bytes();
        let begins = |prefix: &PathBuf| image.starts_with(prefix.as_os_str().as_encoded_bytes());
        self.prefixes.iter().any(begins)
    }
}

impl Dataset {
    /// Names of all domains of all origins, each once, in their order.
    pub fn domains(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for domain in self.origins.iter().flat_map(|origin| &origin.domains) {
            if !names.contains(&domain.name.as_str()) {
                names.push(&domain.name);
            }
        }
        names
    }

    /// The domain of a sample: the first that its path begins like.
    pub fn domain_of(&self, sample: &Sample) -> Option<&str> {
        let mut domains = self.origins.iter().flat_map(|origin| &origin.domains);
        domains
            .find(|domain| domain.contains(&sample.image))
            .map(|domain| domain.name.as_str())
    }
}

/// The path without `.` and without what a later `..` takes back; links are not followed.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(out.components().next_back(), Some(Component::Normal(_))) =>
            {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_takes_the_paths_that_begin_like_its_own() {
        let domain = Domain {
            name: "phone".to_owned(),
            prefixes: vec!["/d/images/phone".into(), "/d/images/test/p_".into()],
        };
        for (path, inside) in [
            ("/d/images/phone/a.png", true),
            ("/d/./x/../images/phone/a.png", true),
            ("/d/images/test/p_7.png", true),
            ("/d/images/test/q_7.png", false),
            ("/e/images/phone/a.png", false),
        ] {
            assert_eq!(domain.contains(Path::new(path)), inside, "{path}");
        }
    }

    #[test]
    fn a_way_up_that_nothing_takes_back_stays() {
        assert_eq!(plain(Path::new("../a/./b/../c")), Path::new("../a/c"));
        assert_eq!(plain(Path::new("/a/../../b")), Path::new("/../b"));
    }
}
