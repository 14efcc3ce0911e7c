import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The port is named to a server with accounts, as `--cors-origin http://localhost:5173`: no other one will do.
export default defineConfig({ plugins: [react()], server: { port: 5173, strictPort: true } });
