// The shapes of what the modules hand to each other, which each of them may name; and files that the build puts beside
// the sources. The type checker alone reads this.

/** One class. */
interface Diagnosis {
  code: string;
  name: string;
  malignant: boolean;
  color: string;
  description: string;
}

/** model.json: the part of the manifest that predictions need, as app/device/build.py writes it. */
interface Model {
  name: string;
  version: string;
  file: string;
  sha256: string; // of the file, hexadecimal
  downloads: Record<string, number>; // bytes of the large files, uncompressed
  labels: Diagnosis[];
  image_size: number; // pixels, of the network's square
  fit: "squash" | "center_crop" | "random_crop";
  crops: number; // crops that one prediction is made of
  outputs: string[];
  temperature: number;
  prior_shift: number[];
  decision_weights: number[];
  threshold: number; // of the malignant probability, from which on an image is referred
  borderline: number; // the lower end of the grey zone below the threshold
  melanoma_level: number | null; // probability of melanoma that gets a notice where another class is likelier
  prediction_set: Record<string, number> | null; // the lowest probability with which a class is in the set
  set_level: number | null; // the share of images whose prediction set holds the true class
  domain: Domain; // the two scores' thresholds: an image with less is flagged
  measured: string; // how the advice was measured to do, in words
  words: Record<string, string>; // the texts of the results by key, as app/words has them
}

/** Higher is more like the training images. */
interface Domain {
  other_camera: number;
  not_dermatoscopic: number;
}

/** See Prediction in lib/skinlesion/serving/predictor.py. */
interface Decision {
  best: number; // place of the chosen class
  probabilities: number[];
  scores: number[];
  malignantProbability: number;
  referral: "refer" | "borderline" | "below" | "none";
  inDomain: boolean;
  domainScore: number;
  notices: string[]; // codes
  predictionSet: string[] | null; // codes of classes
}

/** A decoded image. */
interface Frame {
  data: Uint8ClampedArray | Uint8Array; // RGBA, opaque, row by row
  width: number;
  height: number;
}

/** The outputs of the network for one frame. */
interface Outputs {
  logits: Float32Array;
  domain: Domain; // both domain scores
  maps: { data: Float32Array; height: number; width: number } | null; // one activation map a class, the crops' one below the other
  milliseconds: number; // that framing and network took
  width: number; // of the frame, in pixels
  height: number;
}

interface Loaded {
  model: Model;
  threads: number;
  provider: Provider; // which part of the device computes
}

/** ONNX Runtime's name for the processor, or the graphics processor. */
type Provider = "wasm" | "webgpu";

declare module "*/ort.wasm.min.mjs" {
  export * from "onnxruntime-web";
}

declare module "*/ort.webgpu.min.mjs" {
  export * from "onnxruntime-web";
}

/** What build.service_worker writes before the service worker's source. */
declare const SITE: {
  version: string;
  headers: Record<string, string>;
  files: Record<string, string | null>;
  later: Record<string, string>;
};
