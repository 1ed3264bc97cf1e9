// What the type checker cannot see: files that the build puts beside the sources.

declare module "*/ort.wasm.min.mjs" {
  export * from "onnxruntime-web";
}

declare module "*/ort.webgpu.min.mjs" {
  export * from "onnxruntime-web";
}

declare const SITE: {
  version: string;
  headers: Record<string, string>;
  files: Record<string, string | null>;
  later: Record<string, string>;
};
