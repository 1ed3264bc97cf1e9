// The page of results.

import { liven } from "./cards.js";

liven(document);
