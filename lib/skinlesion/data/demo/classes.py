"""How each diagnosis is drawn: which structures, how often, how strong.

The structures and their frequencies follow the usual dermatoscopic criteria (Kittler et al., "Standardization of
terminology in dermoscopy", 2016, doi:10.1016/j.jaad.2015.12.038). Sizes and contrasts are set so that their spread in a
class is near that of HAM10000. No structure is always there, and some lesions are drawn as another class, so that
classes overlap as they do in practice.
"""

from __future__ import annotations

import numpy as np

from skinlesion.data.demo.drawing import BLOOD, DARK_BLOOD, DENSE_MELANIN, KERATIN, MELANIN, Canvas, noise, ramp

BLUE_WHITE = (136, 146, 176)
BLUE_GREY = (92, 94, 116)
MILKY_PINK = (232, 176, 184)
SCAR = (240, 216, 212)
CRUST = (146, 78, 40)

#: Share of a class's lesions that are drawn as another class: the look-alikes of the clinic.
LOOKALIKES = {
    "ak": {"bkl": 0.10, "scc": 0.10, "bcc": 0.05},
    "scc": {"ak": 0.10, "bcc": 0.08, "bkl": 0.05},
    "bcc": {"scc": 0.06, "nv": 0.04, "bkl": 0.04, "mel": 0.03},
    "bkl": {"nv": 0.06, "mel": 0.06, "ak": 0.05},
    "df": {"nv": 0.10, "bcc": 0.05},
    "mel": {"nv": 0.16, "bkl": 0.06},
    "nv": {"mel": 0.05, "bkl": 0.02, "df": 0.01},
    "vasc": {"mel": 0.04, "bcc": 0.03},
}


def draw_lesion(label: str, rng: np.random.Generator) -> Canvas:
    """A canvas with one lesion of ``label``, which is one of the eight of :data:`LOOKALIKES`."""
    others = LOOKALIKES[label]
    drawn_as = [*others, label]
    shares = [*others.values(), 1 - sum(others.values())]
    kind = drawn_as[int(np.searchsorted(np.cumsum(shares), rng.random()))]
    canvas = Canvas(rng)
    _DRAW[kind](canvas)
    return canvas


def _outline(c: Canvas, radius: tuple, stretch: tuple, *, lobes: tuple | int, irregular: tuple, soft: tuple) -> None:
    """Shape the lesion: a radius's median and spread, its lobes or the shares of 1, 2, … of them, three ranges."""
    c.outline(
        c.around(*radius),
        stretch=c.between(*stretch),
        lobes=lobes if isinstance(lobes, int) else 1 + int(c.rng.choice(len(lobes), p=lobes)),
        irregular=c.between(*irregular),
        soft=c.between(*soft),
    )


def _nevus(c: Canvas) -> None:
    pattern = c.rng.choice(["reticular", "globular", "homogeneous", "blue"], p=[0.5, 0.2, 0.28, 0.02])
    _outline(c, (40, 0.38), (1.0, 1.9), lobes=(0.85, 0.15), irregular=(0.02, 0.13), soft=(2.5, 8))
    amount = c.around(0.55, 0.5)
    c.absorb(c.inside * c.between(0.0, 0.1), BLOOD)
    c.pigment(amount, uneven=c.between(0.05, 0.22), lopsided=c.between(0, 0.15), dome=c.between(0.1, 0.9))
    fading = ramp(c.depth, 0.0, 0.35 * c.radius)
    if pattern == "reticular":
        c.network(c.around(0.45, 0.4) * (0.3 + amount), c.between(4, 6.5), c.between(0.6, 1.0), 0.5 + 0.5 * fading)
    elif pattern == "globular":
        c.globules(c.between(0.25, 0.6) * (0.4 + amount), c.between(5, 8), c.between(1.2, 1.9), 0.8)
    elif pattern == "blue":
        c.cover(c.inside * c.between(0.5, 0.8), BLUE_GREY)
    if c.shows(0.4):  # darker or lighter in the middle
        middle = np.exp(-((c.x**2 + c.y**2) / (0.45 * c.radius) ** 2))
        c.absorb(c.inside * middle * (0.6 if c.rng.random() < 0.7 else -0.25) * c.between(0.5, 1.6), DENSE_MELANIN)
    if c.shows(0.15):
        c.globules(c.between(0.4, 0.9), 7, 1.3, 0.15)


def _melanoma(c: Canvas) -> None:
    _outline(c, (45, 0.42), (1.1, 2.2), lobes=(0.25, 0.35, 0.25, 0.15), irregular=(0.06, 0.26), soft=(1.5, 6))
    amount = c.around(0.55, 0.6)
    c.absorb(c.inside * c.between(0.02, 0.16), BLOOD)
    c.pigment(amount, uneven=c.between(0.15, 0.4), lopsided=c.between(0.1, 0.5), dome=c.between(0, 0.4))
    if c.shows(0.6):  # atypical network: wide, dark, in patches
        patches = c.patch(c.between(-0.5, 0.5), 1.0)
        c.network(
            c.between(0.5, 1.1) * (0.25 + amount), c.between(4.5, 7.0), c.between(0.7, 1.3), patches, DENSE_MELANIN
        )
    if c.shows(0.75):  # dark blotches off the centre
        for _ in range(int(c.rng.integers(1, 3))):
            blotch = c.blob(c.radius * c.between(0.2, 0.7), c.radius * c.between(0.25, 0.55), 0.35, c.between(3, 9))
            c.absorb(c.inside * blotch * c.between(0.6, 1.8), DENSE_MELANIN)
    if c.shows(0.55):
        c.globules(c.between(0.4, 1.1), c.between(6, 10), c.between(1.0, 2.0), c.between(0.2, 0.5), c.patch(0.0))
    if c.shows(0.3):
        c.streaks(c.between(0.4, 0.9))
    if c.shows(0.4):  # blue-white veil
        veil = c.blob(c.radius * c.between(0.0, 0.6), c.radius * c.between(0.3, 0.6), 0.4, c.between(8, 18))
        c.cover(c.inside * veil * c.between(0.25, 0.6), BLUE_WHITE)
    if c.shows(0.3):  # regression: scar with grey peppering
        scar = c.inside * c.blob(c.radius * c.between(0.2, 0.8), c.radius * c.between(0.3, 0.5), 0.4, 10)
        c.cover(scar * c.between(0.3, 0.65), SCAR)
        c.cover(scar * 0.6 * c.spots(4, 0.9, 0.6), BLUE_GREY)
    if c.shows(0.25):  # milky red areas and irregular vessels
        area = c.inside * c.blob(c.radius * c.between(0.2, 0.7), c.radius * c.between(0.3, 0.6), 0.4, 10)
        c.cover(area * c.between(0.2, 0.5), MILKY_PINK)
        c.absorb(area * c.between(0.05, 0.25), BLOOD)
        c.vessels(0.35, 5, 0.7, branches=1)
    if c.shows(0.12):
        c.white_streaks(0.4)


def _benign_keratosis(c: Canvas) -> None:
    c.sun_damage(c.damage)
    c.outline(
        c.around(50, 0.42),
        stretch=c.between(1.1, 2.2),
        lobes=1 if c.rng.random() < 0.7 else 2,
        irregular=c.between(0.05, 0.2),
        soft=c.around(1.8, 0.6),
    )
    amount = c.around(0.24, 0.7)
    lichenoid = c.rng.random() < 0.15
    c.pigment(amount, MELANIN if c.rng.random() < 0.4 else KERATIN, uneven=c.between(0.1, 0.35))
    if c.shows(0.4):  # moth-eaten border and holes
        bites = c.spots(c.between(8, 14), c.between(2.5, 4.5), 0.4, 2.0)
        c.absorb(-0.7 * amount * c.inside * bites * (c.depth < 0.4 * c.radius), KERATIN)
    if c.shows(0.35):
        c.ridges(c.between(0.2, 0.45) * (0.15 + amount), c.between(5, 11))
    elif c.shows(0.3):  # solar lentigo
        c.network(0.6 * amount + 0.08, c.between(5, 9), c.between(0.7, 1.3), 1.0, KERATIN)
    if c.shows(0.5):  # milia-like cysts
        cysts = c.spots(c.between(9, 16), c.between(1.0, 2.2), c.between(0.25, 0.6), 1.8)
        c.cover(c.inside * cysts * c.between(0.4, 0.75), (246, 234, 206))
    if c.shows(0.42):  # comedo-like openings
        c.globules(c.between(0.7, 1.5), c.between(10, 18), c.between(1.4, 2.8), c.between(0.3, 0.7))
    if c.shows(0.3):
        c.scale(c.between(0.2, 0.5), (228, 210, 182))
    if lichenoid:  # grey granules on pink
        c.absorb(c.inside * c.between(0.05, 0.2), BLOOD)
        c.cover(c.inside * c.patch(-0.2) * c.between(0.4, 0.7) * c.spots(4, 1.0, 0.7), BLUE_GREY)
    if c.shows(0.12):
        c.vessels(0.3, 12, 0.6, branches=1)


def _basal_cell_carcinoma(c: Canvas) -> None:
    c.sun_damage(0.6 * c.damage)
    _outline(c, (38, 0.42), (1.0, 1.8), lobes=(0.7, 0.3), irregular=(0.05, 0.2), soft=(3, 9))
    c.pigment(c.around(0.035, 0.8), uneven=0.4)
    c.absorb(c.inside * c.between(0.02, 0.2) * (1 + 0.4 * noise(c.rng, "clouds")), BLOOD)
    if c.shows(0.6):  # translucent, pearly
        c.cover(c.inside * c.between(0.08, 0.28), MILKY_PINK)
    if c.shows(0.62):
        c.vessels(c.between(0.4, 0.95), int(c.rng.integers(2, 6)), c.between(0.8, 1.5))
    elif c.shows(0.3):
        c.vessels(c.between(0.3, 0.6), int(c.rng.integers(6, 16)), 0.6, branches=1)
    pigmented = c.shows(0.6)
    if pigmented:  # blue-grey ovoid nests, or leaf-like areas where they sit on the border
        off = c.between(0.3, 0.8)
        for _ in range(int(c.rng.integers(1, 6))):
            nest = c.blob(c.radius * off * c.between(0.6, 1.3), c.radius * c.between(0.08, 0.28), 0.3, c.between(3, 8))
            c.cover(nest * c.between(0.3, 0.7), BLUE_GREY)
            c.absorb(nest * c.between(0.0, 0.45), DENSE_MELANIN)
    if pigmented and c.shows(0.5):
        c.globules(c.between(0.5, 1.1), c.between(7, 13), c.between(1.0, 1.8), 0.3, c.patch(0.2))
    if c.shows(0.3):  # ulceration
        sore = c.blob(c.radius * c.between(0, 0.5), c.radius * c.between(0.12, 0.32), 0.35, 2.5)
        c.cover(sore * c.between(0.5, 0.85), CRUST)
        c.absorb(sore * c.between(0.1, 0.7), BLOOD)
    if c.shows(0.28):
        c.white_streaks(c.between(0.35, 0.7))


def _keratinocytic_outline(c: Canvas) -> None:
    c.outline(
        c.around(60, 0.35),
        stretch=c.between(1.0, 1.8),
        lobes=int(c.rng.integers(1, 4)),
        irregular=c.between(0.12, 0.3),
        soft=c.between(4, 11),
    )


def _actinic_keratosis(c: Canvas) -> None:
    c.sun_damage(0.4 + 0.6 * c.damage)
    _keratinocytic_outline(c)
    c.absorb(c.inside * c.between(0.04, 0.2) * (1 + 0.4 * noise(c.rng, "mottle")), BLOOD)
    if c.shows(0.5):  # pigmented: brown pseudonetwork
        c.pigment(c.around(0.12, 0.6), KERATIN, uneven=0.5)
        c.network(c.between(0.1, 0.3), c.between(6, 9), c.between(0.9, 1.5), c.patch(-0.3), KERATIN)
    if c.shows(0.6):  # strawberry: red pseudonetwork round pale, plugged follicles
        c.network(c.between(0.08, 0.22), c.between(6, 10), 1.8, 1.0, BLOOD)
        c.cover(c.inside * c.between(0.25, 0.55) * c.spots(c.between(7, 10), 1.7, 0.8, 1.6), (244, 222, 196))
    if c.shows(0.55):
        c.scale(c.between(0.3, 0.65))
    if c.shows(0.25):
        c.vessels(0.35, int(c.rng.integers(6, 14)), 0.6, branches=1)


def _squamous_cell_carcinoma(c: Canvas) -> None:
    c.sun_damage(0.7 * c.damage)
    _keratinocytic_outline(c)
    c.absorb(c.inside * c.between(0.08, 0.26) * (1 + 0.35 * noise(c.rng, "clouds")), BLOOD)
    if c.shows(0.65):  # clustered dotted or glomerular vessels
        dots = c.spots(c.between(4.5, 7.5), c.between(0.9, 1.7), 0.85) * c.patch(c.between(-0.7, 0.1), 0.8)
        c.absorb(c.inside * dots * c.between(0.3, 0.75), BLOOD)
    if c.shows(0.65):
        c.scale(c.between(0.4, 0.8), (238, 224, 204))
    if c.shows(0.3):  # pigmented Bowen's disease
        c.pigment(c.around(0.12, 0.5), uneven=0.5)
        c.globules(c.between(0.3, 0.8), c.between(4, 7), 1.1, 0.5, c.patch(0.2))
    if c.shows(0.3):  # erosion or crust
        sore = c.blob(c.radius * c.between(0, 0.5), c.radius * c.between(0.12, 0.3), 0.4, 3)
        c.cover(sore * c.between(0.4, 0.8), CRUST)
        c.absorb(sore * c.between(0.2, 0.7), BLOOD)


def _dermatofibroma(c: Canvas) -> None:
    _outline(c, (45, 0.36), (1.0, 1.5), lobes=1, irregular=(0.03, 0.12), soft=(6, 14))
    c.absorb(c.inside * c.between(0.0, 0.16), BLOOD)
    c.pigment(c.around(0.17, 0.5), uneven=c.between(0.1, 0.3), lopsided=c.between(0, 0.2))
    rim = ramp(np.sqrt(c.x**2 + c.y**2), 0.25 * c.radius, 0.7 * c.radius)
    if c.shows(0.7):
        c.network(c.between(0.1, 0.32), c.between(4.5, 7), c.between(0.6, 1.0), rim)
    if c.shows(0.72):  # central white patch
        patch = c.blob(c.radius * c.between(0, 0.2), c.radius * c.between(0.25, 0.5), 0.25, c.between(8, 20))
        c.cover(c.inside * patch * c.between(0.35, 0.8), SCAR)
    if c.shows(0.3):
        c.white_streaks(c.between(0.3, 0.6))
    if c.shows(0.25):
        c.absorb(c.inside * (1 - rim) * c.between(0.05, 0.2), BLOOD)
        c.vessels(0.3, 6, 0.6, branches=1)


def _vascular_lesion(c: Canvas) -> None:
    _outline(c, (26, 0.42), (1.0, 1.7), lobes=(0.6, 0.4), irregular=(0.03, 0.15), soft=(1.5, 5))
    dark = c.rng.random() < 0.35  # thrombosed: purple to black
    spectrum = DARK_BLOOD if dark else BLOOD
    amount = c.around(0.9 if dark else 0.65, 0.45)
    if c.shows(0.4):  # red halo
        c.absorb(c.between(0.05, 0.2) * np.exp(-np.maximum(-c.depth, 0) / c.between(6, 16)), BLOOD)
    c.pigment(0.6 * amount, spectrum, uneven=c.between(0.1, 0.3))
    if c.shows(0.85):
        c.lacunae(amount, c.between(0.25, 0.55) * c.radius + 5, spectrum)
    if c.shows(0.3):  # whitish or bluish veil
        veil = c.blob(c.radius * c.between(0, 0.6), c.radius * c.between(0.3, 0.6), 0.4, 8)
        c.cover(c.inside * veil * c.between(0.15, 0.45), (200, 190, 212))
    if c.shows(0.2):
        sore = c.blob(c.radius * c.between(0, 0.4), c.radius * c.between(0.2, 0.4), 0.4, 3)
        c.absorb(c.inside * sore * c.between(0.5, 1.5), DARK_BLOOD)


_DRAW = {
    "ak": _actinic_keratosis,
    "scc": _squamous_cell_carcinoma,
    "bcc": _basal_cell_carcinoma,
    "bkl": _benign_keratosis,
    "df": _dermatofibroma,
    "mel": _melanoma,
    "nv": _nevus,
    "vasc": _vascular_lesion,
}
