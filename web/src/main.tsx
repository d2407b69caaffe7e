// The page's beginning.
import { createRoot } from "react-dom/client";
import { App } from "./app.tsx";
import "./styles/tokens.css";
import "./styles/base.css";
import { applyTheme } from "./theme.ts";

// A part that is loaded late may be of an older build than the server now has: begin anew, once.
addEventListener("vite:preloadError", (event) => {
  const last = Number(sessionStorage.getItem("tailrace.reloaded") ?? 0);
  if (Date.now() - last < 10_000) return;
  sessionStorage.setItem("tailrace.reloaded", String(Date.now()));
  event.preventDefault();
  location.reload();
});

applyTheme();
createRoot(document.getElementById("page")!).render(<App />);
