// What Grafana fills in where a dashboard says nothing. These tables live in Grafana's application
// (public/app/plugins/panel/*/module.tsx and config.ts, version 12.1), which is not on npm; everything else is its own.
import {
  displayNameOverrideProcessor,
  identityOverrideProcessor,
  numberOverrideProcessor,
  PanelPlugin,
  standardFieldConfigEditorRegistry,
  standardTransformers,
  standardTransformersRegistry,
  thresholdsOverrideProcessor,
  valueMappingsOverrideProcessor,
} from "@grafana/data";

const property = (id, defaultValue, process = identityOverrideProcessor) => ({
  id,
  path: id,
  name: id,
  defaultValue,
  process,
  shouldApply: () => true,
});

const thresholds = {
  mode: "absolute",
  steps: [
    { value: -Infinity, color: "green" },
    { value: 80, color: "red" },
  ],
};

standardFieldConfigEditorRegistry.setInit(() => [
  property("unit"),
  property("min", undefined, numberOverrideProcessor),
  property("max", undefined, numberOverrideProcessor),
  property("decimals", undefined, numberOverrideProcessor),
  property("displayName", undefined, displayNameOverrideProcessor),
  property("noValue"),
  property("color", { mode: "thresholds" }),
  property("mappings", [], valueMappingsOverrideProcessor),
  property("thresholds", thresholds, thresholdsOverrideProcessor),
]);

// One of them goes by two names, which a registry refuses.
const transformers = new Map(Object.values(standardTransformers).map((one) => [one.id, one]));
standardTransformersRegistry.setInit(() =>
  [...transformers.values()].map((transformation) => ({
    id: transformation.id,
    name: transformation.name,
    transformation,
  })),
);

const plugin = (options, custom, standardOptions = {}) => {
  const addTo = (builder, values) => {
    for (const [id, value] of Object.entries(values)) builder.addCustomEditor(property(id, value));
  };
  return new PanelPlugin(null)
    .setPanelOptions((builder) => addTo(builder, options))
    .useFieldConfig({ standardOptions, useCustomConfig: (builder) => addTo(builder, custom) });
};

const timeseries = plugin(
  {
    legend: { showLegend: true, displayMode: "list", placement: "bottom", calcs: [] },
    tooltip: { mode: "single", sort: "none" },
  },
  {
    drawStyle: "line",
    lineInterpolation: "linear",
    lineWidth: 1,
    lineStyle: undefined,
    fillOpacity: 0,
    fillBelowTo: undefined,
    gradientMode: "none",
    showPoints: "auto",
    pointSize: 5,
    spanNulls: false,
    insertNulls: false,
    stacking: { mode: "none", group: "A" },
    scaleDistribution: { type: "linear" },
    axisPlacement: "auto",
    axisLabel: "",
    axisSoftMin: undefined,
    axisSoftMax: undefined,
    axisGridShow: true,
    axisBorderShow: false,
    axisCenteredZero: false,
    axisColorMode: "text",
    thresholdsStyle: { mode: "off" },
    hideFrom: { legend: false, tooltip: false, viz: false },
  },
  { color: { defaultValue: { mode: "palette-classic" } } },
);

const stat = plugin(
  {
    reduceOptions: { values: false, calcs: ["lastNotNull"], fields: "" },
    orientation: "auto",
    textMode: "auto",
    wideLayout: true,
    colorMode: "value",
    graphMode: "area",
    justifyMode: "auto",
    text: undefined,
  },
  {},
);

const table = plugin(
  { showHeader: true, cellHeight: "sm", sortBy: undefined },
  { align: "auto", width: undefined, cellOptions: { type: "auto" }, hidden: undefined },
);

export const plugins = { timeseries, stat, table };
