//! Who of several processes this one is, as the launcher says it: `torchrun`, Kubeflow (RANK and
//! friends) or Slurm (SLURM_PROCID and friends).

use super::EngineError;

/// Port of the meeting place where Slurm names none.
const SLURM_PORT: u16 = 29500;

/// This process among those that train together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Its number over all machines, from 0.
    pub rank: usize,
    /// Its number on this machine, from 0: which card it takes.
    pub local_rank: usize,
    /// How many there are, at least 2.
    pub world: usize,
    /// Machine of rank 0.
    pub host: String,
    /// Port there.
    pub port: u16,
    /// The launcher holds the meeting place itself; else rank 0 does.
    pub hosted: bool,
    /// Times that the launcher has started anew; keeps the attempts apart.
    pub attempt: u32,
}

impl Launch {
    /// Reads the environment; `None` when this process was started alone (also as one of one).
    ///
    /// # Errors
    /// When a variable is missing or makes no sense.
    pub fn from_env() -> Result<Option<Self>, EngineError> {
        Self::from_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, EngineError> {
        let names = if ["RANK", "WORLD_SIZE", "LOCAL_RANK"]
            .iter()
            .any(|name| variable(name).is_some())
        {
            ["RANK", "LOCAL_RANK", "WORLD_SIZE"]
        } else if variable("SLURM_PROCID").is_some() && variable("SLURM_NTASKS").is_some() {
            ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS"]
        } else {
            return Ok(None);
        };
        let slurm = names[0] == "SLURM_PROCID";
        let [rank, local_rank, world] = names;
        let world_size = number(world, &variable, None)?;
        let rank_number = number(rank, &variable, None)?;
        if world_size == 0 || rank_number >= world_size {
            return Err(EngineError::Launch(format!(
                "{rank} is {rank_number} and {world} is {world_size}, expected a rank below the number of processes"
            )));
        }
        if world_size == 1 {
            return Ok(None);
        }
        let port = number("MASTER_PORT", &variable, slurm.then_some(SLURM_PORT.into()))?;
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        Ok(Some(Self {
            rank: rank_number,
            // Kubeflow starts one process a machine and does not number them.
            local_rank: number(local_rank, &variable, Some(0))?,
            world: world_size,
            host: variable("MASTER_ADDR")
                .ok_or_else(|| unset("MASTER_ADDR", "the machine of rank 0"))?,
            port: port.ok_or_else(|| {
                EngineError::Launch("MASTER_PORT is no port, expected 1 to 65535".to_owned())
            })?,
            hosted: variable("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|value| value == "True"),
            attempt: number("TORCHELASTIC_RESTART_COUNT", &variable, Some(0))? as u32,
        }))
    }
}

fn unset(name: &str, expected: &str) -> EngineError {
    EngineError::Launch(format!("{name} is not set, expected {expected}"))
}

fn number(
    name: &str,
    variable: &impl Fn(&str) -> Option<String>,
    otherwise: Option<usize>,
) -> Result<usize, EngineError> {
    match (variable(name), otherwise) {
        (Some(text), _) => text.parse().map_err(|_| {
            EngineError::Launch(format!("{name} is {text:?}, expected a number from 0"))
        }),
        (None, Some(otherwise)) => Ok(otherwise),
        (None, None) => Err(unset(name, "a number from 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Launch>, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Launch::from_variables(variable).map_err(|e| e.to_string())
    }

    const MEET: [(&str, &str); 2] = [("MASTER_ADDR", "10.0.0.7"), ("MASTER_PORT", "4711")];

    #[test]
    fn every_launcher_is_understood() {
        let expected = Launch {
            rank: 3,
            local_rank: 1,
            world: 4,
            host: "10.0.0.7".to_owned(),
            port: 4711,
            hosted: false,
            attempt: 0,
        };
        let plain = [("RANK", "3"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "4")];
        let found = read(&[&plain[..], &MEET].concat());
        assert_eq!(found, Ok(Some(expected.clone())));
        let elastic = [
            ("TORCHELASTIC_USE_AGENT_STORE", "True"),
            ("TORCHELASTIC_RESTART_COUNT", "2"),
        ];
        let torchrun = Launch {
            hosted: true,
            attempt: 2,
            ..expected.clone()
        };
        let found = read(&[&plain[..], &MEET, &elastic].concat());
        assert_eq!(found, Ok(Some(torchrun)));
        let slurm = [
            ("SLURM_PROCID", "3"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_NTASKS", "4"),
        ];
        let found = read(&[&slurm[..], &MEET[..1]].concat());
        let port = 29500;
        assert_eq!(
            found,
            Ok(Some(Launch {
                port,
                ..expected.clone()
            }))
        );
        let kubeflow = [("RANK", "3"), ("WORLD_SIZE", "4")];
        let found = read(&[&kubeflow[..], &MEET].concat());
        let local_rank = 0;
        assert_eq!(
            found,
            Ok(Some(Launch {
                local_rank,
                ..expected
            }))
        );
    }

    #[test]
    fn a_process_alone_is_no_group() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&MEET), Ok(None));
        assert_eq!(read(&[("RANK", "0"), ("WORLD_SIZE", "1")]), Ok(None));
        assert_eq!(
            read(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1")]),
            Ok(None)
        );
        assert_eq!(
            read(&[("SLURM_NTASKS", "8")]),
            Ok(None),
            "inside salloc, not started by srun"
        );
    }

    #[test]
    fn half_a_launch_is_refused() {
        struct Case {
            given: &'static [(&'static str, &'static str)],
            error: &'static str,
        }
        for Case { given, error } in [
            Case {
                given: &[("RANK", "1")],
                error: "WORLD_SIZE is not set, expected a number from 0",
            },
            Case {
                given: &[("LOCAL_RANK", "1"), ("WORLD_SIZE", "2")],
                error: "RANK is not set, expected a number from 0",
            },
            Case {
                given: &[("RANK", "one"), ("WORLD_SIZE", "2")],
                error: "RANK is \"one\", expected a number from 0",
            },
            Case {
                given: &[("RANK", "2"), ("WORLD_SIZE", "2")],
                error: "RANK is 2 and WORLD_SIZE is 2, expected a rank below the number of processes",
            },
            Case {
                given: &[("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a")],
                error: "MASTER_PORT is not set, expected a number from 0",
            },
            Case {
                given: &[("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_PORT", "9")],
                error: "MASTER_ADDR is not set, expected the machine of rank 0",
            },
            Case {
                given: &[
                    ("RANK", "0"),
                    ("WORLD_SIZE", "2"),
                    ("MASTER_ADDR", "a"),
                    ("MASTER_PORT", "70000"),
                ],
                error: "MASTER_PORT is no port, expected 1 to 65535",
            },
            Case {
                given: &[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "2")],
                error: "MASTER_ADDR is not set, expected the machine of rank 0",
            },
        ] {
            let found = read(given).expect_err(error);
            assert_eq!(
                found,
                format!("started as one of several processes, but {error}")
            );
        }
    }
}
