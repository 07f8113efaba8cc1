// The dashboard as Grafana draws it: `drawDashboard({dashboard, from, to, step, answers})`, where `answers` has by
// panel id the list of {target, series}, with series as Prometheus answers them.
import {
  applyFieldOverrides,
  createTheme,
  dateTime,
  FieldType,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  getPanelOptionsWithDefaults,
  renderLegendFormat,
  ThemeContext,
  toDataFrame,
  transformDataFrame,
} from "@grafana/data";
import { BigValue, GlobalStyles, PanelChrome, Table, TimeSeries, VizRepeater } from "@grafana/ui";
import { Component } from "react";
import { createRoot } from "react-dom/client";
import { lastValueFrom } from "rxjs";
import "uplot/dist/uPlot.min.css";
import { plugins } from "./defaults";

const theme = createTheme();
const TIME_ZONE = "utc";
// Grafana's grid, from its application: 24 columns, rows of 30 pixels, 8 between two panels.
const COLUMNS = 24;
const ROW = 30;
const GAP = 8;

const milliseconds = (seconds) => seconds * 1000;
const numbers = (texts) => texts.map((text) => (text === "NaN" ? null : Number(text)));

function graphFrame({ refId, legendFormat }, { metric, values }, step) {
  const displayNameFromDS = legendFormat && renderLegendFormat(legendFormat, metric);
  const times = values.map(([time]) => milliseconds(time));
  const found = numbers(values.map(([, value]) => value));
  return toDataFrame({
    refId,
    fields: [
      // The interval says where values are missing, so that no line is drawn across.
      { name: "Time", type: FieldType.time, values: times, config: { interval: milliseconds(step) } },
      { name: "Value", type: FieldType.number, values: found, labels: metric, config: { displayNameFromDS } },
    ],
  });
}

function tableFrame({ refId }, series) {
  const labels = [...new Set(series.flatMap(({ metric }) => Object.keys(metric)))].sort();
  const points = series.map(({ values }) => values.at(-1));
  const strings = labels.map((name) => ({
    name,
    type: FieldType.string,
    values: series.map(({ metric }) => metric[name] ?? ""),
  }));
  return toDataFrame({
    refId,
    fields: [
      { name: "Time", type: FieldType.time, values: points.map(([time]) => milliseconds(time)) },
      ...strings,
      { name: "Value", type: FieldType.number, values: numbers(points.map(([, value]) => value)) },
    ],
  });
}

function framesOf({ target, series }, step) {
  if (!series.length) return [];
  if (target.format === "table") return [tableFrame(target, series)];
  return series.map((one) => graphFrame(target, one, step));
}

// Grafana drops an option that it does not know; here nothing of the dashboard may be lost.
function refuseUnknown({ defaults, overrides }, registry) {
  const { custom = {}, ...standard } = defaults;
  const set = [...Object.keys(standard), ...Object.keys(custom).map((name) => `custom.${name}`)];
  const overridden = overrides.flatMap(({ properties }) => properties.map(({ id }) => id));
  const unknown = [...set, ...overridden].filter((id) => !registry.getIfExists(id));
  if (unknown.length) throw new Error(`options that defaults.js does not know: ${unknown.join(", ")}`);
}

async function prepared(panel, { from, to, step, answers }) {
  const plugin = plugins[panel.type];
  if (!plugin) throw new Error(`panels of type ${panel.type} cannot be drawn; defaults.js knows ${Object.keys(plugins)}`);
  refuseUnknown(panel.fieldConfig, plugin.fieldConfigRegistry);
  const { options, fieldConfig } = getPanelOptionsWithDefaults({
    plugin,
    currentOptions: panel.options,
    currentFieldConfig: panel.fieldConfig,
    isAfterPluginChange: false,
  });
  const asked = answers[panel.id].flatMap((answer) => framesOf(answer, step));
  const data = applyFieldOverrides({
    data: await lastValueFrom(transformDataFrame(panel.transformations ?? [], asked)),
    fieldConfig,
    fieldConfigRegistry: plugin.fieldConfigRegistry,
    replaceVariables: (text) => text,
    theme,
    timeZone: TIME_ZONE,
  });
  const range = { from: dateTime(milliseconds(from)), to: dateTime(milliseconds(to)) };
  return { panel, options, fieldConfig, data, timeRange: { ...range, raw: range } };
}

function Stat({ data, options, fieldConfig, timeRange, width, height }) {
  const getValues = () =>
    getFieldDisplayValues({
      data,
      fieldConfig,
      reduceOptions: options.reduceOptions,
      replaceVariables: (text) => text,
      sparkline: options.graphMode !== "none",
      theme,
      timeZone: TIME_ZONE,
    });
  const renderValue = ({ value: { display, sparkline }, ...place }) => (
    <BigValue
      {...place}
      value={display}
      sparkline={sparkline && { ...sparkline, timeRange }}
      colorMode={options.colorMode}
      graphMode={options.graphMode}
      justifyMode={options.justifyMode}
      textMode={options.textMode}
      text={options.text}
      disableWideLayout={!options.wideLayout}
      theme={theme}
    />
  );
  return (
    <VizRepeater
      autoGrid
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      getValues={getValues}
      height={height}
      orientation={options.orientation}
      renderCounter={0}
      renderValue={renderValue}
      source={data}
      width={width}
    />
  );
}

// Exemplars, which Grafana's application adds as marks of its own, are not drawn.
const Graph = ({ data, options, timeRange, width, height }) => (
  <TimeSeries
    frames={data}
    height={height}
    legend={options.legend}
    options={options}
    timeRange={timeRange}
    timeZone={TIME_ZONE}
    width={width}
  />
);

const Rows = ({ data, options, width, height }) => (
  <Table
    cellHeight={options.cellHeight}
    data={data[0]}
    height={height}
    initialSortBy={options.sortBy}
    noHeader={!options.showHeader}
    width={width}
  />
);

const Nothing = ({ fieldConfig, width, height }) => (
  <div style={{ width, height, display: "grid", placeItems: "center" }}>
    {fieldConfig.defaults.noValue ?? "No data"}
  </div>
);

const drawings = { timeseries: Graph, stat: Stat, table: Rows };

// Tells of an error of what is drawn inside, which React would only write to the console.
class Watched extends Component {
  state = {};
  static getDerivedStateFromError = () => ({ failed: true });
  componentDidCatch(error) {
    this.props.failed(error);
  }
  render() {
    return this.state.failed ? null : this.props.children;
  }
}

function Panel({ width, failed, ...told }) {
  const { title, description, gridPos, type } = told.panel;
  const column = (width + GAP) / COLUMNS;
  const place = { position: "absolute", left: gridPos.x * column, top: gridPos.y * (ROW + GAP) };
  const Drawing = told.data.some(({ length }) => length) ? drawings[type] : Nothing;
  return (
    <div style={place}>
      <PanelChrome
        title={title}
        description={description}
        width={gridPos.w * column - GAP}
        height={gridPos.h * (ROW + GAP) - GAP}
      >
        {(innerWidth, innerHeight) => (
          <Watched failed={failed}>
            <Drawing {...told} width={innerWidth} height={innerHeight} />
          </Watched>
        )}
      </PanelChrome>
    </div>
  );
}

// Gives the height of what it drew; fails with the title of the panel that cannot be drawn.
window.drawDashboard = async (told) => {
  const root = document.body.appendChild(document.createElement("div"));
  const failures = [];
  const panels = [];
  for (const panel of told.dashboard.panels) {
    const failed = (error) => failures.push(`panel '${panel.title}': ${error.message}`);
    try {
      panels.push({ ...(await prepared(panel, told)), failed, key: panel.id });
    } catch (error) {
      failed(error);
    }
  }
  createRoot(root).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      {panels.map(({ key, ...one }) => (
        <Panel key={key} width={root.clientWidth} {...one} />
      ))}
    </ThemeContext.Provider>,
  );
  await document.fonts.ready;
  await new Promise((done) => setTimeout(done, 1000)); // graphs and tables measure themselves before they draw
  if (failures.length) throw new Error(failures.join("\n"));
  return Math.max(...told.dashboard.panels.map(({ gridPos }) => (gridPos.y + gridPos.h) * (ROW + GAP)));
};
