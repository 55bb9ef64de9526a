//! What a white cell looks like, as a choice of traits; the picture and the truth both come from it.

use crate::attribute::{Attributes, NO_ATTRIBUTES, ValueId};
use crate::class::{ClassId, LEUKEMIA_CLASSES};

use super::random::Random;

/// Number of classes, LeukemiaAttri's.
pub const N_CLASSES: usize = LEUKEMIA_CLASSES.len();

/// Diameter from which WBCAtt's experts would call a cell big, micrometres: 1.7 red cells.
const BIG_UM: f32 = 12.3;

/// Diameters at which LeukemiaAttri's medium and large begin, micrometres.
const MEDIUM_UM: f32 = 10.5;
const LARGE_UM: f32 = 14.5;

/// Share of the cell's area that the nucleus takes, from which the ratio is high (WBCAtt) and the
/// cytoplasm scanty (LeukemiaAttri).
const HIGH_RATIO: f32 = 0.65;

/// Outline of the nucleus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NucleusShape {
    /// Round or oval.
    Round,
    /// With one bay: kidney, horse shoe with thick arms.
    Indented,
    /// A curved sausage of even width.
    Band,
    /// Two lobes and a bridge.
    Bilobed,
    /// Three to five lobes and bridges.
    Multilobed,
    /// Folded, cleaved or without a nameable form.
    Irregular,
}

const NUCLEUS_SHAPES: [NucleusShape; 6] = [
    NucleusShape::Round,
    NucleusShape::Indented,
    NucleusShape::Band,
    NucleusShape::Bilobed,
    NucleusShape::Multilobed,
    NucleusShape::Irregular,
];

/// Texture of the nucleus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chromatin {
    /// Fine, pale, open.
    Open,
    /// Dense clumps.
    Coarse,
}

/// Colour of the cytoplasm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CytoplasmColour {
    /// Acidophilic, as in granulocytes (WBCAtt's experts call it light blue).
    Pale,
    /// Slightly basophilic.
    LightBlue,
    /// Basophilic.
    Blue,
    /// Grey to purple blue.
    PurpleBlue,
}

const CYTOPLASM_COLOURS: [CytoplasmColour; 4] = [
    CytoplasmColour::Pale,
    CytoplasmColour::LightBlue,
    CytoplasmColour::Blue,
    CytoplasmColour::PurpleBlue,
];

/// Granules in the cytoplasm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granules {
    /// None to be seen.
    None,
    /// Fine and pink, as in neutrophils.
    FinePink,
    /// Large, round, orange-red, as in eosinophils.
    RoundRed,
    /// Coarse, dark purple, also over the nucleus, as in basophils.
    CoarsePurple,
    /// Fine and purple (azurophilic), as in promyelocytes.
    FinePurple,
}

const GRANULES: [Granules; 5] = [
    Granules::None,
    Granules::FinePink,
    Granules::RoundRed,
    Granules::CoarsePurple,
    Granules::FinePurple,
];

/// What a thing of the class `None` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Artefact {
    /// A crushed cell: a smeared nucleus with frayed edges.
    Smudge,
    /// A nucleus without cytoplasm, in a violet haze.
    BareNucleus,
    /// A clump of precipitated stain.
    Precipitate,
}

const ARTEFACTS: [Artefact; 3] = [
    Artefact::Smudge,
    Artefact::BareNucleus,
    Artefact::Precipitate,
];

/// Everything that is drawn of a white cell, and from which its attributes are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Morphology {
    /// Position in [`LEUKEMIA_CLASSES`].
    pub class: ClassId,
    /// `Some` exactly for the class `None`; the traits below are then without meaning, except the diameter.
    pub artefact: Option<Artefact>,
    /// Mean diameter, micrometres.
    pub diameter_um: f32,
    /// The outline has bulges or corners.
    pub irregular_outline: bool,
    /// Outline of the nucleus.
    pub nucleus: NucleusShape,
    /// Area of the nucleus over the area of the cell, 0..1.
    pub nuclear_ratio: f32,
    /// Texture of the nucleus.
    pub chromatin: Chromatin,
    /// Nucleoli to be seen, 0 to 4.
    pub nucleoli: u8,
    /// Colour of the cytoplasm.
    pub cytoplasm: CytoplasmColour,
    /// The cytoplasm looks like ground glass.
    pub frosted: bool,
    /// Granules.
    pub granules: Granules,
    /// Vacuoles to be seen, 0 to 6.
    pub vacuoles: u8,
    /// Seed of everything that no trait names: where the lobes lie, how the clumps run.
    pub detail: u64,
}

/// How often a class shows which trait; weights and chances in per cent.
struct Profile {
    diameter_um: [f32; 2],
    irregular_outline: u8,
    nucleus: [u8; 6],
    nuclear_ratio: [f32; 2],
    coarse: u8,
    nucleoli: (u8, u8),
    cytoplasm: [u8; 4],
    frosted: u8,
    granules: [u8; 5],
    vacuoles: u8,
}

const fn profile(
    diameter_um: [f32; 2],
    irregular_outline: u8,
    nucleus: [u8; 6],
    nuclear_ratio: [f32; 2],
    chromatin: (u8, u8, u8),
    cytoplasm: ([u8; 4], u8),
    granules: ([u8; 5], u8),
) -> Profile {
    Profile {
        diameter_um,
        irregular_outline,
        nucleus,
        nuclear_ratio,
        coarse: chromatin.0,
        nucleoli: (chromatin.1, chromatin.2),
        cytoplasm: cytoplasm.0,
        frosted: cytoplasm.1,
        granules: granules.0,
        vacuoles: granules.1,
    }
}

/// By class. The five types of normal blood follow the frequencies of WBCAtt's `attributes.csv`
/// (10,298 cells), the others the textbook. Columns: diameter; irregular outline; nucleus round,
/// indented, band, bilobed, multilobed, irregular; nuclear ratio; (coarse, nucleoli, most of them);
/// (cytoplasm pale, light blue, blue, purple blue; frosted); (granules none, fine pink, round red,
/// coarse purple, fine purple; vacuoles).
#[rustfmt::skip]
const PROFILES: [Profile; N_CLASSES] = [
    profile([9.0, 18.0], 100, [0, 0, 0, 0, 0, 100], [0.9, 0.95], (0, 0, 1), ([100, 0, 0, 0], 0), ([100, 0, 0, 0, 0], 0)),
    profile([12.5, 18.0], 15, [75, 12, 0, 0, 0, 13], [0.70, 0.88], (5, 92, 4), ([0, 25, 65, 10], 20), ([88, 0, 0, 0, 12], 4)),
    profile([9.5, 14.5], 15, [70, 10, 0, 0, 0, 20], [0.78, 0.92], (35, 40, 2), ([0, 20, 70, 10], 15), ([100, 0, 0, 0, 0], 8)),
    profile([10.5, 14.8], 23, [0, 0, 52, 25, 22, 1], [0.33, 0.46], (99, 0, 1), ([100, 0, 0, 0], 0), ([0, 100, 0, 0, 0], 4)),
    profile([13.0, 19.0], 70, [20, 30, 0, 0, 0, 50], [0.38, 0.62], (65, 20, 2), ([0, 15, 75, 10], 40), ([92, 0, 0, 0, 8], 22)),
    profile([14.0, 19.5], 40, [5, 45, 0, 0, 0, 50], [0.52, 0.72], (10, 50, 2), ([0, 10, 35, 55], 80), ([45, 0, 0, 0, 55], 30)),
    profile([14.5, 20.0], 30, [65, 15, 0, 0, 0, 20], [0.62, 0.80], (5, 90, 3), ([0, 10, 70, 20], 50), ([85, 0, 0, 0, 15], 25)),
    profile([7.6, 12.0], 33, [77, 19, 0, 0, 0, 4], [0.66, 0.90], (98, 2, 1), ([0, 3, 61, 36], 65), ([100, 0, 0, 0, 0], 0)),
    profile([12.0, 17.0], 15, [70, 25, 0, 0, 0, 5], [0.42, 0.58], (85, 5, 1), ([55, 40, 5, 0], 15), ([0, 70, 0, 0, 30], 3)),
    profile([13.5, 19.5], 35, [10, 18, 0, 35, 0, 37], [0.45, 0.66], (30, 40, 2), ([10, 20, 25, 45], 30), ([0, 0, 0, 15, 85], 4)),
    profile([11.4, 17.6], 55, [6, 75, 0, 0, 0, 19], [0.38, 0.62], (40, 0, 1), ([0, 8, 46, 46], 89), ([100, 0, 0, 0, 0], 46)),
    profile([11.0, 15.5], 15, [0, 97, 0, 0, 0, 3], [0.38, 0.50], (95, 0, 1), ([90, 10, 0, 0], 5), ([0, 95, 0, 0, 5], 3)),
    profile([10.8, 15.0], 8, [0, 1, 10, 68, 20, 1], [0.28, 0.40], (99, 0, 1), ([100, 0, 0, 0], 0), ([0, 0, 100, 0, 0], 0)),
    profile([9.8, 13.4], 11, [2, 2, 6, 29, 19, 42], [0.40, 0.58], (100, 0, 1), ([100, 0, 0, 0], 0), ([0, 0, 0, 100, 0], 0)),
];

impl Morphology {
    /// A cell of `class` as it may be; the same seed gives the same cell.
    ///
    /// `None` when [`LEUKEMIA_CLASSES`] has no such class.
    pub fn sample(class: ClassId, seed: u64) -> Option<Self> {
        let profile = PROFILES.get(class.index())?;
        let mut random = Random::new(seed);
        let mut percent = |chance: u8| random.below(100) < u32::from(chance);
        let irregular_outline = percent(profile.irregular_outline);
        let coarse = percent(profile.coarse);
        let has_nucleoli = percent(profile.nucleoli.0);
        let frosted = percent(profile.frosted);
        let has_vacuoles = percent(profile.vacuoles);
        let artefact = ARTEFACTS[random.weighted(&[50_u16, 30, 20])];
        let [small, large] = profile.diameter_um;
        let diameter_um = (small + large + (large - small) * random.triangle()) / 2.0;
        let nucleoli = 1 + random.below(u32::from(profile.nucleoli.1)) as u8;
        let vacuoles = 1 + random.below(6) as u8;
        Some(Self {
            class,
            artefact: (class.index() == 0).then_some(artefact),
            diameter_um,
            irregular_outline,
            nucleus: NUCLEUS_SHAPES[random.weighted(&profile.nucleus)],
            nuclear_ratio: random.between(profile.nuclear_ratio[0], profile.nuclear_ratio[1]),
            chromatin: if coarse {
                Chromatin::Coarse
            } else {
                Chromatin::Open
            },
            nucleoli: if has_nucleoli { nucleoli } else { 0 },
            cytoplasm: CYTOPLASM_COLOURS[random.weighted(&profile.cytoplasm)],
            frosted,
            granules: GRANULES[random.weighted(&profile.granules)],
            vacuoles: if has_vacuoles { vacuoles } else { 0 },
            detail: random.bits(),
        })
    }
}

/// Values by index, in the order of the schema.
fn attributes<const K: usize>(values: [usize; K]) -> Attributes {
    let mut out = NO_ATTRIBUTES;
    for (slot, value) in out.iter_mut().zip(values) {
        *slot = ValueId::new(value);
    }
    out
}

/// Class and attributes in WBCAtt's schema ([`crate::class::WBCATT_CLASSES`],
/// [`crate::attribute::WBCATT_ATTRIBUTES`]).
///
/// The class is `None` for a cell that WBCAtt does not know; its attributes are still those of the
/// drawn cell. Of an artefact nothing is known.
pub fn wbcatt_attributes(cell: &Morphology) -> (Option<ClassId>, Attributes) {
    if cell.artefact.is_some() {
        return (None, NO_ATTRIBUTES);
    }
    let class = match cell.class.index() {
        3 => Some(ClassId(0)),
        12 => Some(ClassId(1)),
        13 => Some(ClassId(2)),
        7 => Some(ClassId(3)),
        10 => Some(ClassId(4)),
        _ => None,
    };
    let nucleus = match cell.nucleus {
        NucleusShape::Band => 0,
        NucleusShape::Round => 1,
        NucleusShape::Indented => 2,
        NucleusShape::Bilobed => 3,
        NucleusShape::Multilobed => 4,
        NucleusShape::Irregular => 5,
    };
    let colour = match cell.cytoplasm {
        CytoplasmColour::Pale | CytoplasmColour::LightBlue => 0,
        CytoplasmColour::Blue => 1,
        CytoplasmColour::PurpleBlue => 2,
    };
    let (granule_type, granule_colour) = match cell.granules {
        Granules::None => (0, 0),
        Granules::FinePink => (1, 1),
        Granules::RoundRed => (2, 3),
        Granules::CoarsePurple => (3, 2),
        Granules::FinePurple => (1, 2),
    };
    let values = attributes([
        usize::from(cell.diameter_um >= BIG_UM),
        usize::from(cell.irregular_outline),
        nucleus,
        usize::from(cell.nuclear_ratio >= HIGH_RATIO),
        usize::from(cell.chromatin == Chromatin::Coarse),
        usize::from(cell.vacuoles > 0),
        usize::from(cell.frosted),
        colour,
        granule_type,
        granule_colour,
        usize::from(cell.granules != Granules::None),
    ]);
    (class, values)
}

/// Class and attributes in LeukemiaAttri's schema ([`LEUKEMIA_CLASSES`],
/// [`crate::attribute::LEUKEMIA_ATTRIBUTES`]); of an artefact nothing is known but its class.
pub fn leukemia_attributes(cell: &Morphology) -> (ClassId, Attributes) {
    if cell.artefact.is_some() {
        return (cell.class, NO_ATTRIBUTES);
    }
    let size =
        usize::from(cell.diameter_um >= MEDIUM_UM) + usize::from(cell.diameter_um >= LARGE_UM);
    let basophilic = matches!(
        cell.cytoplasm,
        CytoplasmColour::Blue | CytoplasmColour::PurpleBlue
    );
    let values = attributes([
        size,
        usize::from(cell.chromatin == Chromatin::Coarse),
        usize::from(cell.nucleus != NucleusShape::Round),
        usize::from(cell.nucleoli > 0),
        usize::from(cell.nuclear_ratio < HIGH_RATIO),
        usize::from(basophilic),
        usize::from(cell.vacuoles > 0),
    ]);
    (cell.class, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::{AttributeId, AttributeSchema, LEUKEMIA_ATTRIBUTES, WBCATT_ATTRIBUTES};
    use crate::class::{ClassTable, WBCATT_CLASSES};

    fn assert_legal(schema: &AttributeSchema, values: &Attributes, artefact: bool) {
        for (index, value) in values.iter().enumerate() {
            let attribute = schema.get(AttributeId(index as u8));
            match (attribute, value) {
                (Some(attribute), Some(value)) => {
                    assert!(
                        attribute.value_name(*value).is_some(),
                        "{attribute:?} {value:?}"
                    );
                }
                (Some(attribute), None) => assert!(artefact, "{attribute:?} unknown"),
                (None, value) => assert_eq!(*value, None),
            }
        }
    }

    #[test]
    fn attributes_are_legal_in_both_schemas() {
        let wbcatt = AttributeSchema::new(WBCATT_ATTRIBUTES).unwrap();
        let leukemia = AttributeSchema::new(LEUKEMIA_ATTRIBUTES).unwrap();
        for class in 0..N_CLASSES as u8 {
            for seed in 0..200 {
                let cell = Morphology::sample(ClassId(class), seed).unwrap();
                assert_eq!(cell.artefact.is_some(), class == 0);
                assert_legal(&wbcatt, &wbcatt_attributes(&cell).1, class == 0);
                assert_legal(&leukemia, &leukemia_attributes(&cell).1, class == 0);
            }
        }
        assert_eq!(Morphology::sample(ClassId(14), 0), None);
    }

    #[test]
    fn a_class_of_both_sets_has_one_name() {
        let wbcatt = ClassTable::new(WBCATT_CLASSES).unwrap();
        let leukemia = ClassTable::new(LEUKEMIA_CLASSES).unwrap();
        for (class, name) in leukemia.iter() {
            let cell = Morphology::sample(class, 1).unwrap();
            assert_eq!(wbcatt_attributes(&cell).0, wbcatt.find(name), "{name}");
        }
    }

    #[test]
    fn normal_cells_show_their_traits_as_often_as_in_wbcatt() {
        let share = |class, test: fn(&Morphology) -> bool| {
            let hits = (0..2000).filter(|&seed| {
                test(&Morphology::sample(ClassId(class), seed).expect("a class of the table"))
            });
            hits.count() as f32 / 2000.0
        };
        for (class, trait_of, expected) in [
            (
                7,
                (|cell| cell.nucleus == NucleusShape::Round) as fn(&Morphology) -> bool,
                0.77,
            ),
            (10, |cell| cell.vacuoles > 0, 0.46),
            (12, |cell| cell.nucleus == NucleusShape::Bilobed, 0.68),
            (3, |cell| cell.diameter_um >= BIG_UM, 0.61),
            (10, |cell| cell.diameter_um >= BIG_UM, 0.86),
            (13, |cell| cell.diameter_um >= BIG_UM, 0.27),
        ] {
            let got = share(class, trait_of);
            assert!(
                (got - expected).abs() < 0.12,
                "class {class}: {got}, expected {expected}"
            );
        }
    }
}
