// Read when the application is built and again when it starts.
export default {
  compress: process.env.NEXT_COMPRESSES === "yes",
  images: { unoptimized: true },
  allowedDevOrigins: ["dev.localhost"],
};
