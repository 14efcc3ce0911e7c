// What GraphiQL says wrongly to keyboards and screen readers, said rightly.

/** Keeps the page repaired as GraphiQL changes it. */
export function keepRepaired(app: HTMLElement) {
  const repair = () => {
    // Its tabs hold buttons, which a tab may not (ARIA: its children are presentational): a list, one of which is current.
    for (const list of app.querySelectorAll(".graphiql-tabs[role]")) list.removeAttribute("role");
    for (const panel of app.querySelectorAll("[role=tabpanel]")) panel.setAttribute("role", "region");
    for (const tab of app.querySelectorAll(".graphiql-tab[aria-selected]")) {
      tab.querySelector(".graphiql-tab-button")?.setAttribute("aria-current", tab.getAttribute("aria-selected")!);
      tab.removeAttribute("aria-selected");
      tab.removeAttribute("role");
    }
    // What is heard is not what is seen: "Set active", whatever the item.
    for (const item of app.querySelectorAll(".graphiql-history-item-label[aria-label]")) item.removeAttribute("aria-label");
  };
  new MutationObserver(repair).observe(app, { subtree: true, childList: true, attributeFilter: ["aria-selected"] });
}
