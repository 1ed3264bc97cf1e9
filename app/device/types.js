// The shapes of what the modules hand to each other; nothing here runs.

/**
 * @typedef {object} Diagnosis  one class
 * @property {string} code
 * @property {string} name
 * @property {boolean} malignant
 * @property {string} color
 * @property {string} description
 */

/**
 * @typedef {object} Model  model.json: the part of the manifest that predictions need, as app/device/build.py writes it
 * @property {string} name
 * @property {string} version
 * @property {string} file
 * @property {string} sha256  of the file, hexadecimal
 * @property {Record<string, number>} downloads  bytes of the large files, uncompressed
 * @property {Diagnosis[]} labels
 * @property {number} image_size  pixels, of the network's square
 * @property {"squash" | "center_crop" | "random_crop"} fit
 * @property {number} crops  crops that one prediction is made of
 * @property {string[]} outputs
 * @property {number} temperature
 * @property {number[]} prior_shift
 * @property {number[]} decision_weights
 * @property {number} threshold  of the malignant probability, from which on an image is referred
 * @property {number} borderline  the lower end of the grey zone below the threshold
 * @property {number | null} melanoma_level  probability of melanoma that gets a notice where another class is likelier
 * @property {Record<string, number> | null} prediction_set  the lowest probability with which a class is in the set
 * @property {number | null} set_level  the share of images whose prediction set holds the true class
 * @property {Domain} domain  the two scores' thresholds: an image with less is flagged
 * @property {string} measured  how the advice was measured to do, in words
 * @property {Record<string, string>} words  the texts of the results by key, as app/words has them
 */

/**
 * @typedef {object} Domain  higher is more like the training images
 * @property {number} other_camera
 * @property {number} not_dermatoscopic
 */

/**
 * @typedef {object} Decision  see Prediction in lib/skinlesion/serving/predictor.py
 * @property {number} best  place of the chosen class
 * @property {number[]} probabilities
 * @property {number[]} scores
 * @property {number} malignantProbability
 * @property {"refer" | "borderline" | "below" | "none"} referral
 * @property {boolean} inDomain
 * @property {number} domainScore
 * @property {string[]} notices  codes
 * @property {string[] | null} predictionSet  codes of classes
 */

/**
 * @typedef {object} Frame  a decoded image
 * @property {Uint8ClampedArray | Uint8Array} data  RGBA, opaque, row by row
 * @property {number} width
 * @property {number} height
 */

/**
 * @typedef {object} Outputs  the outputs of the network for one frame
 * @property {Float32Array} logits
 * @property {Domain} domain  both domain scores
 * @property {{data: Float32Array, height: number, width: number} | null} maps  one activation map a class, the
 *   crops' one below the other
 * @property {number} milliseconds  that framing and network took
 * @property {number} width   of the frame, in pixels
 * @property {number} height
 */

/**
 * @typedef {object} Loaded
 * @property {Model} model
 * @property {number} threads
 * @property {Provider} provider  which part of the device computes
 */

/** @typedef {"wasm" | "webgpu"} Provider  ONNX Runtime's name for the processor, or the graphics processor */

export {};
