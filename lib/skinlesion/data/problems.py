"""Every kind of problem that a data set can have, and what is done about it."""

from __future__ import annotations

# of files and folders (skinlesion.data.files)
UNREAD_FORMAT = "format that is not read"
UNREAD_ARCHIVE = "archive that is not read"
UNREAD_NAME = "name that is not read"
TOO_DEEP = "folder too deep"
LINK = "link that leads nowhere or back"
HIDDEN = "hidden image"
SEVERAL_SIZES = "several sizes of one image"
SEVERAL_FILES = "several images for one id"

# of the rows of a table (skinlesion.data.tabulate)
NO_IMAGE = "row without an image"
NO_ROW = "image without a row"
UNKNOWN_LABEL = "unknown label"
NO_CLASS = "diagnosis without a class"
DUPLICATE = "duplicate id"
ONE_FILE = "one file for several ids"
NOT_DERMATOSCOPIC = "not dermatoscopic"
BAD_AGE = "age out of range"

# of several data sets together (skinlesion.data.merge)
ANOTHER_VERSION = "another version of a picture"

# of the whole table and of pixels (skinlesion.data.check)
UNDECODABLE = "undecodable image"
MASK = "mask among the images"
TWO_LABELS = "lesion with two labels"
TWO_FORMS = "lesion id in two forms"
UNKNOWN_PAIR = "near-duplicate of unknown image"
IDENTICAL = "identical images"
TWO_LABELS_OF_ONE = "identical images with two labels"

#: In the order of the data check's summary.
CONSEQUENCES = {
    UNDECODABLE: "image set aside",
    MASK: "image set aside",
    NO_IMAGE: "row set aside",
    NO_ROW: "image ignored",
    UNKNOWN_LABEL: "row set aside",
    NO_CLASS: "row set aside",
    DUPLICATE: "row set aside",
    ONE_FILE: "row set aside",
    SEVERAL_FILES: "row set aside",
    SEVERAL_SIZES: "largest one used",
    TWO_LABELS: "all its images set aside",
    TWO_FORMS: "kept in one part of a split",
    TWO_LABELS_OF_ONE: "all copies set aside",  # of several sources, those of the later one
    IDENTICAL: "kept in one part of a split",
    NOT_DERMATOSCOPIC: "image set aside",
    ANOTHER_VERSION: "row set aside",
    BAD_AGE: "age left empty",
    UNKNOWN_PAIR: "pair ignored",
    UNREAD_FORMAT: "file left out",
    UNREAD_ARCHIVE: "archive left out",
    UNREAD_NAME: "file or folder left out",
    TOO_DEEP: "folder left out",
    HIDDEN: "file or folder left out",
    LINK: "link left out",
}
